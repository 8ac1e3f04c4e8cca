"""The rows of the last layer: a backdoor's target has the longest, by far."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bdb.defenses import outliers
from bdb.defenses.base import DefenderView, ModelLevel, Outcome
from bdb.method import Paper
from bdb.registry import register


@register("head_norm")
class HeadNorm(ModelLevel):
    """Suspect the class whose row of weights in the last layer is unusually long.

    It costs nothing and needs no data. It sees naive triggers with one target and much poison; it
    is blind to little poison, and to all-to-all, where no class is different from the others.

    Differs: the paper looks at how a row's weights are distributed, here their norm alone counts.
    How much a clean model's longest row stands out is taken from normal values; the threshold
    fits any number of classes, which a z-score's cannot: of ten it never exceeds 2.85.
    """

    paper: ClassVar[Paper] = Paper(
        title="Trojan Signatures in DNN Weights",
        authors="Fields, Samragh, Javaheripi, Koushanfar, Javidi",
        venue="ICCV Workshops",
        year=2021,
        url="https://arxiv.org/abs/2109.02836",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})
    evidence: ClassVar[tuple[str, ...]] = ("norm", "deviation")
    min_classes: ClassVar[int] = 3  # Of two, neither can stand out from the median of both.

    significance: float = Field(
        0.05, gt=0, lt=1, description="share of models with normal norms that would be suspected"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Judge the model by its largest robust deviation from the median norm."""
        norms = view.model.head.weight.detach().float().norm(dim=1).cpu()
        deviation = outliers.deviations(norms)
        threshold = outliers.critical(len(norms), self.significance, view.generator("null"))
        targets = (deviation > threshold).nonzero().flatten()
        verdict = {
            "backdoored": len(targets) > 0,
            "targets": targets.tolist(),
            "suspect": int(deviation.argmax()),
            "score": float(deviation.max()),
        }
        return Outcome(verdict=verdict, evidence={"norm": norms, "deviation": deviation})
