"""What batch norms take in from many images: shown batch by batch, and its moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bdb.models import surgery
from bdb.models.hooks import hooked
from bdb.training import inference


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each channel: float64, C."""

    mean: Tensor
    variance: Tensor


def visit(
    model: nn.Module, images: Tensor, see: Callable[[str, Tensor], None], *, pooled: bool = False
) -> None:
    """Show what each of `surgery.batch_norms` takes in, in evaluation mode.

    Args:
        model: its mode is put back.
        images: uint8, N x C x H x W.
        see: called for every batch with the norm's name and its input: float, n x C x H x W.
        pooled: show the mean of each map alone: n x C x 1 x 1.
    """

    def show(name: str, _norm: nn.Module, args: tuple[Any, ...]) -> None:
        see(name, args[0].mean((2, 3), keepdim=True) if pooled else args[0])

    norms = surgery.batch_norms(model).items()
    with hooked(norm.register_forward_pre_hook(partial(show, name)) for name, norm in norms):
        inference.logits(model, images)


def moments(model: nn.Module, images: Tensor, *, pooled: bool = False) -> dict[str, Moments]:
    """Of what `visit` shows, by the norm's name; the images are not kept."""
    sums: dict[str, Tensor] = {}

    def add(name: str, maps: Tensor) -> None:
        variance, mean = (part.double() for part in torch.var_mean(maps, (0, 2, 3), correction=0))
        count = torch.full_like(mean, maps.numel() / len(mean))
        found = torch.stack([count, count * mean, count * (variance + mean**2)])
        sums[name] = sums[name] + found if name in sums else found

    visit(model, images, add, pooled=pooled)
    means = {name: (first / count, second / count) for name, (count, first, second) in sums.items()}
    return {
        name: Moments(mean, (square - mean**2).clamp(min=0))
        for name, (mean, square) in means.items()
    }
