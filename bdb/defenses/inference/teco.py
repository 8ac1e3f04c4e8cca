"""TeCo: a triggered input withstands some corruptions far better than others."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.datasets import corruptions
from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.rejection import Rejection, Score
from bdb.method import Paper
from bdb.registry import register
from bdb.training import inference, seeds


@register("teco")
class CorruptionConsistency(Rejection):
    """Reject inputs that corruptions of different kinds turn at different severities.

    The score is the standard deviation, over the kinds, of the least severity that changes the
    prediction; one more than the highest if none does. Each corruption is one of the original.

    On digits it tells a patch. A trigger over the whole image withstands every corruption there,
    so that the triggered are those that score low: AUROC .03 to .11 for `lf`, `blended`, `wanet`.

    Differs: twelve corruptions of our own, not the fifteen of ImageNet-C; a threshold, that of the
    declared rate of false positives.
    """

    paper: ClassVar[Paper] = Paper(
        title="Detecting Backdoors During the Inference Stage Based on Corruption Robustness "
        "Consistency",
        authors="Liu, Li, Wang, Hu, Ye, Jin, Wu, Xiao",
        venue="CVPR",
        year=2023,
        url="https://arxiv.org/abs/2303.18191",
    )

    severities: int = Field(5, ge=1, le=corruptions.SEVERITIES, description="of each corruption")

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        """How unlike each other the severities are that change an image's prediction."""
        seed = seeds.derive(view.seed, "draws")

        def spread(batch: Tensor) -> Tensor:
            draws = seeds.uniform_by_content(batch, batch[0].numel(), seed).view_as(batch)
            predicted = view.model(batch).argmax(1)
            turned = [
                self.turn(view, batch, predicted, name, draws) for name in corruptions.CORRUPTIONS
            ]
            return torch.stack(turned).std(0)

        return lambda images: inference.in_batches(spread, images, view.device)

    def turn(
        self, view: DefenderView, batch: Tensor, predicted: Tensor, name: str, draws: Tensor
    ) -> Tensor:
        """The least severity, from 1, at which this corruption changes the prediction: N."""
        kept = [
            view.model(corruptions.corrupt(batch, name, severity, draws)).argmax(1) == predicted
            for severity in range(self.severities)
        ]
        return 1 + torch.stack(kept).float().cumprod(0).sum(0)
