"""CLP: prune channels that may amplify a small change of their input too much; needs no data."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.defenses.base import DefenderView, Defense, Outcome
from bdb.method import Paper
from bdb.models import surgery
from bdb.registry import register


@register("clp")
class ChannelLipschitzPruning(Defense):
    """Silence channels whose Lipschitz bound stands out in their layer."""

    paper: ClassVar[Paper] = Paper(
        title="Data-free Backdoor Removal based on Channel Lipschitzness",
        authors="Zheng, Tang, Li, Liu",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2208.03111",
    )
    stage: ClassVar = "post-training"
    needs: ClassVar[frozenset[str]] = frozenset({"model"})

    u: float = Field(
        3.0, ge=0, description="standard deviations above its layer's mean where a bound is cut"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Prune every convolution that a batch norm follows; a network without any stays as is."""
        for conv, norm in surgery.conv_norm_pairs(view.model):
            surgery.prune(norm, self.outliers(lipschitz_bounds(conv, norm)))
        return Outcome(model=view.model)

    def outliers(self, bounds: Tensor) -> Tensor:
        """Which channels of a layer to prune: bool, C."""
        if len(bounds) < 2:
            return torch.zeros_like(bounds, dtype=torch.bool)
        # In double precision the mean of equal bounds is exact, so that none of them exceeds it.
        bounds = bounds.double()
        return bounds > bounds.mean() + self.u * bounds.std()


@torch.no_grad()
def lipschitz_bounds(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Upper bounds of the Lipschitz constants of a convolution's channels after their batch norm.

    Returns:
        float32, C: the largest singular value of the channel's weight, as inputs x window, times
        the scale that the norm gives the channel.
    """
    spectral = torch.linalg.matrix_norm(conv.weight.flatten(2).float(), ord=2)
    if norm.running_var is None:
        return spectral * norm.weight.abs()
    return spectral * (norm.weight / (norm.running_var + norm.eps).sqrt()).abs()
