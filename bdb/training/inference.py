"""What a model says of many images, in batches, without gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bdb.training.loop import to_float

BATCH = 1024


@torch.no_grad()
def in_batches(compute: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    """Apply a function of float images in [0, 1] to uint8 images; the result lies on the CPU.

    It is copied there once, at the end: a copy per batch would have the device wait for the host.
    """
    parts = [compute(to_float(part.to(device))).float() for part in images.split(BATCH)]
    return torch.cat(parts).cpu() if parts else torch.empty(0)


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Float32, N x K, on the CPU; the model's mode is put back."""
    return _evaluate(model, model, images)


def features(model: nn.Module, images: Tensor) -> Tensor:
    """Penultimate features, float32, N x D, on the CPU."""
    compute: Callable[[Tensor], Tensor] = model.features  # type: ignore[assignment]
    return _evaluate(model, compute, images)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images that the model gives their label."""
    return float((logits(model, images).argmax(1) == labels.cpu()).float().mean())


def _evaluate(model: nn.Module, compute: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    was_training = model.training
    model.eval()
    try:
        return in_batches(compute, images, next(model.parameters()).device)
    finally:
        model.train(was_training)
