"""Gradients at other weights nearby, for training that minds how sharp the loss is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bdb.training import device as devices
from bdb.training import loop
from bdb.training.batches import Batch


def look_ahead(
    model: nn.Module,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    move: Callable[[list[nn.Parameter]], None],
) -> None:
    """Put the gradients at other weights in the place of those that are there; weights stay.

    Args:
        model: in training; its batch statistics are left alone.
        batch: whose cross-entropy has the gradients.
        optimizer: whose gradients these are.
        move: takes the weights that have gradients to where new ones are to be had, in place.
    """
    weights = [weight for weight in model.parameters() if weight.grad is not None]
    before = [weight.detach().clone() for weight in weights]
    move(weights)
    optimizer.zero_grad()
    with _statistics_kept(model), devices.autocast(weights[0].device):
        loss = loop.cross_entropy(model, batch)
    loss.backward()
    with torch.no_grad():
        for weight, old in zip(weights, before, strict=True):
            weight.copy_(old)  # Taking the change off again would leave rounding behind.


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Let batch norms leave their running statistics alone: these are not of the other weights."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
