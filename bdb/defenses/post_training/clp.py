"""CLP: prune channels that may amplify a small change of their input too much; needs no data."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.models import surgery
from bdb.registry import register


@register("clp")
class ChannelLipschitzPruning(PostTraining):
    """Silence channels whose Lipschitz bound stands out in their layer.

    Among n channels none can lie more than (n - 1) / sqrt(n) standard deviations above the mean:
    3.75 for 16, 2.47 for 8. So u = 3 can hardly cut anything in narrow layers, where 2 to 2.5 do
    its work.

    Differs: the paper speaks of a convolution that a batch norm follows. A norm that takes in a sum
    goes with the convolution that ends the block before it, which published figures of
    PreActResNet18 need; BackdoorBench takes the convolution defined last, which after a projection
    is the projection. `pairing: strict` leaves such norms alone.
    """

    paper: ClassVar[Paper] = Paper(
        title="Data-free Backdoor Removal based on Channel Lipschitzness",
        authors="Zheng, Tang, Li, Liu",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2208.03111",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    u: float = Field(
        3.0, ge=0, description="standard deviations above its layer's mean where a bound is cut"
    )

    pairing: surgery.Pairing = Field(
        "listed", description="whether a norm that takes in a sum is left alone (strict)"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Prune what every batch norm lets through; a network without any stays as it is."""
        for conv, norm in surgery.conv_norm_pairs(view.model, self.pairing):
            surgery.prune(norm, surgery.outliers(surgery.lipschitz_bounds(conv, norm), self.u))
        return Outcome(model=view.model)
