"""Two networks of one architecture, weight by weight, and those that lie between them."""

from __future__ import annotations

import torch
from torch import Tensor

from bdb.analyses.layers import core
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models.base import Classifier


def paired(model: Classifier, other: Classifier) -> dict[str, tuple[Tensor, Tensor]]:
    """The parameters of two networks, by name: of one and of the other.

    Raises:
        ParamsError: they are of two architectures.
    """
    mine, theirs = (dict(core(each).named_parameters()) for each in (model, other))
    shapes = [{name: p.shape for name, p in side.items()} for side in (mine, theirs)]
    if shapes[0] != shapes[1]:
        raise ParamsError("defense: what it leaves is another network, which has other weights")
    return {name: (weight.detach(), theirs[name].detach()) for name, weight in mine.items()}


class Path:
    """Networks whose weights, and batch statistics, lie on the line between those of two others."""

    def __init__(self, start: Classifier, end: Classifier) -> None:
        paired(start, end)
        self.model = models.duplicate(end).eval()
        self.ends = [
            {name: each.clone() for name, each in core(model).state_dict().items()}
            for model in (start, end)
        ]

    @torch.no_grad()
    def at(self, t: float) -> Classifier:
        """The network at `t`, in [0, 1]; the same object each time."""
        between = {name: _mix(start, self.ends[1][name], t) for name, start in self.ends[0].items()}
        core(self.model).load_state_dict(between)
        return self.model


def _mix(start: Tensor, end: Tensor, t: float) -> Tensor:
    """Counts are not mixed: they are the nearer end's."""
    if start.is_floating_point():
        return start.lerp(end, t)
    return start if t < 0.5 else end


class Plane:
    """Networks around another, in two random directions that are normalised by filter.

    Weights of one dimension, which are biases and the scales of norms, stay as they are.
    """

    def __init__(self, model: Classifier, generator: torch.Generator) -> None:
        self.model = models.duplicate(model).eval()
        self.center = {n: p.detach().clone() for n, p in core(self.model).named_parameters()}
        self.directions = [
            {n: filters(weight, generator) for n, weight in self.center.items() if weight.ndim > 1}
            for _ in range(2)
        ]

    @torch.no_grad()
    def at(self, x: float, y: float) -> Classifier:
        """The network so far along each direction; the same object each time."""
        weights = dict(core(self.model).named_parameters())
        one, other = self.directions
        for name in one:
            weights[name].copy_(self.center[name] + x * one[name] + y * other[name])
        return self.model


def filters(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Random filters, each as long as the weight's own."""
    drawn = torch.randn(weight.shape, generator=generator).to(weight)
    lengths = [each.flatten(1).norm(dim=1) for each in (weight, drawn)]
    ratio = lengths[0] / lengths[1].clamp_min(1e-12)
    return drawn * ratio.view(-1, *[1] * (weight.ndim - 1))
