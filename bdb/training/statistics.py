"""Running statistics of batch norms, learned anew for weights that were not trained with them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bdb.training.batches import to_float
from bdb.training.inference import BATCH


@torch.no_grad()
def relearn(model: nn.Module, images: Tensor) -> None:
    """Let batch norms remember what these images are like, and nothing else.

    Norms that stay in evaluation mode when the model trains keep what they remember, as do all
    where there is but one image, which has no batch statistics.

    Args:
        model: left in evaluation mode.
        images: uint8, N x C x H x W.
    """
    norms = [m for m in model.train().modules() if isinstance(m, _BatchNorm) and m.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    if len(images) < 2:
        return
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None  # the mean of all batches
    device = next(model.parameters()).device
    for part in images.tensor_split(math.ceil(len(images) / BATCH)):
        model(to_float(part.to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum
