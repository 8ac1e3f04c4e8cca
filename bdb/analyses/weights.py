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
