"""Edges of images, as Sobel finds them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from bdb.datasets import transforms

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def edges(images: Tensor, slope: float) -> Tensor:
    """Where the mean of both Sobel gradients is larger: floats, N x C x H x W -> N x 1 x H x W."""
    everything = torch.ones(len(images), dtype=torch.bool, device=images.device)
    grey = transforms.grayscale(images, everything)[:, :1]
    across = torch.tensor(_SOBEL, device=images.device)
    kernels = torch.stack([across, across.T])[:, None]
    with torch.autocast(images.device.type, enabled=False):
        gradients = conv2d(pad(grey, (1,) * 4, mode="replicate"), kernels)
    return (gradients.abs().mean(1, keepdim=True) > slope).float()
