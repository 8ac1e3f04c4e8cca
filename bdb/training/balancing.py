"""The losses of clean and of triggered images, and weights under which both are learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.training.batches import Batch

_TINY = 1e-12


def shortest_mean(model: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """The mean of two losses whose weights make its gradient the shortest.

    Multiple gradient descent (Desideri 2012; Sener and Koltun, NeurIPS 2018). Each gradient is
    divided by its length and its loss to find the weights, so that the larger loss gets the larger
    one.

    Args:
        model: both losses are of its trainable parameters.
        first: a number with its graph, which does not stay.
        second: likewise.

    Returns:
        A number; its gradient is that of the mean, which is known by then: there is no third way
        back through the model.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    one, other = _slope(first, weights, keep=True), _slope(second, weights, keep=False)
    share = shortest(_scaled(one, first), _scaled(other, second))
    known = _flat(weights) @ torch.lerp(other, one, share)
    return torch.lerp(second, first, share).detach() + known - known.detach()


def shortest(one: Tensor, other: Tensor) -> Tensor:
    """The weight, in [0, 1], of the first of two vectors at which their mean is shortest."""
    apart = other - one
    return (apart @ other / (apart @ apart).clamp_min(_TINY)).clamp(0, 1)


def losses(logits: Tensor, batch: Batch, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of a batch's clean images, and of the same with a trigger, from one pass.

    So both share their batch statistics.

    Args:
        logits: 2B x K: of the clean images, then of those with the trigger.
        batch: with the labels of the clean images.
        wanted: int64, B: what the others should be taken for.
    """
    clean, triggered = logits.chunk(2)
    smoothing = batch.label_smoothing
    return (
        cross_entropy(clean, batch.labels, label_smoothing=smoothing),
        cross_entropy(triggered, wanted, label_smoothing=smoothing),
    )


class Gate:
    """Opens when the clean loss was small over the last batches; without label smoothing.

    Args:
        batches: how many.
        most: what their mean must be below.
        device: of the logits.
    """

    def __init__(self, batches: int, most: float, device: torch.device) -> None:
        self.recent, self.most = torch.full((batches,), torch.inf, device=device), most
        self.seen = 0

    def remember(self, logits: Tensor, labels: Tensor) -> None:
        """Of a batch's clean images."""
        self.recent[self.seen % len(self.recent)] = cross_entropy(logits.detach(), labels)
        self.seen += 1

    def is_open(self) -> bool:
        """Whether as many were seen, and their mean is small enough."""
        return bool(self.recent.mean() < self.most)


def _slope(loss: Tensor, weights: list[nn.Parameter], *, keep: bool) -> Tensor:
    return _flat(torch.autograd.grad(loss, weights, retain_graph=keep, materialize_grads=True))


def _scaled(slope: Tensor, loss: Tensor) -> Tensor:
    return slope / (slope.norm() * loss.detach()).clamp_min(_TINY)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """As one vector; torch's own `parameters_to_vector` takes no weights in channels-last order."""
    return torch.cat([each.flatten() for each in tensors])
