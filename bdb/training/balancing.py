"""The losses of clean and of triggered images, and weights under which both are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.training.batches import Batch

_TINY = 1e-12


def shortest(model: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """The weight of the first of two losses at which the mean of their gradients is shortest.

    Multiple gradient descent (Desideri 2012; Sener and Koltun, NeurIPS 2018). Each gradient is
    divided by its length and its loss, so that the larger loss gets the larger weight.

    Args:
        model: both losses are of its trainable parameters.
        first: a number with its graph, which stays.
        second: likewise.

    Returns:
        A number in [0, 1], without a graph.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    one, other = (_scaled(loss, weights) for loss in (first, second))
    apart = other - one
    return (apart @ other / (apart @ apart).clamp_min(_TINY)).clamp(0, 1)


def losses(model: nn.Module, batch: Batch, images: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of a batch's clean images, and of the same with a trigger, from one pass.

    So both share their batch statistics.

    Args:
        model: the victim.
        batch: with the labels of the clean images.
        images: floats in [0, 1], 2B x C x H x W: the clean ones, then those with the trigger.
        wanted: int64, B: what these should be taken for.
    """
    clean, triggered = model(images).chunk(2)
    smoothing = batch.label_smoothing
    return (
        cross_entropy(clean, batch.labels, label_smoothing=smoothing),
        cross_entropy(triggered, wanted, label_smoothing=smoothing),
    )


def _scaled(loss: Tensor, weights: list[nn.Parameter]) -> Tensor:
    slopes = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    slope = torch.cat([each.flatten() for each in slopes if each is not None])
    return slope / (slope.norm() * loss.detach()).clamp_min(_TINY)
