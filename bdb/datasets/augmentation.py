"""Crop and flip as batched tensor operations, with an offset of its own for every sample."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from bdb.method import Frozen


class Augmentation(Frozen):
    """What training does to each image, drawn anew for every sample and epoch."""

    crop_padding: int = Field(0, ge=0, description="pixels of black border to crop from")
    flip: bool = Field(False, description="mirror half of the images")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment N x C x H x W images of any dtype; draws come from a CPU generator."""
        if self.crop_padding:
            images = random_crop(images, self.crop_padding, generator)
        if self.flip:
            mirrored = torch.rand(len(images), generator=generator).to(images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Crop every image at its own offset from a copy with a black border."""
    count, _, height, width = images.shape
    padded = pad(images, (padding,) * 4)
    offsets = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)
    top, left = offsets.to(images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    sample = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)
