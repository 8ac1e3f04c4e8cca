"""Beatrix: the correlations between channels are not those of the class that is answered."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import discrepancy, filtering, grams, outliers
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.registry import register

_TINY = 1e-12


@register("beatrix")
class Beatrix(PreTraining):
    """Score by how far Gram matrices leave the clean images' range; drop from classes in two parts.

    Clean images of each class say what is usual, so that poison may be the larger part.

    Differs: of every Gram matrix the sums of rows are kept (as Sastry and Oore do, ICML 2020, on
    whom it builds), a five-hundredth of its entries; the threshold is set on clean images that are
    held out, where the paper folds them.
    """

    paper: ClassVar[Paper] = Paper(
        title='The "Beatrix" Resurrections: Robust Backdoor Detection via Gram Matrices',
        authors="Ma, Wang, Sun, Xue, Wen, Xiang",
        venue="NDSS",
        year=2023,
        url="https://arxiv.org/abs/2209.11715",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "features", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})
    min_classes: ClassVar[int] = 3

    orders: int = Field(8, ge=1, le=16, description="highest power of the maps that is correlated")
    width: float = Field(
        10.0, gt=0, description="of the usual range, in median absolute deviations to each side"
    )
    held_out: float = Field(
        0.5, gt=0, lt=1, description="share of the clean set that sets the threshold"
    )
    false_positive_rate: float = Field(
        0.05, gt=0, lt=1, description="share of clean images above the threshold"
    )
    max_index: float = Field(
        math.e**2, gt=0, description="anomaly index among the classes from which one is suspect"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Score the training set under its labels, judge the classes, and train again.

        Raises:
            ParamsError: the clean set has a single image.
        """
        data, (known, held) = view.train_set, view.split_clean(self.held_out)
        usual = grams.row_sums(view.model, known.images, self.orders)
        low, high = self.ranges(usual, known.labels.cpu(), view.data.num_classes)
        scores, ordinary = (
            excess(grams.row_sums(view.model, part.images, self.orders), low[labels], high[labels])
            for part in (data, held)
            for labels in (part.labels.cpu(),)
        )
        loud = scores > ordinary.quantile(1 - self.false_positive_rate)
        flagged = loud & self.suspect(view, loud)
        return filtering.without(self, view, scores, flagged)

    def ranges(self, usual: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """What is usual of each class, K x F each; of all, where none of its images is known."""
        bounds = []
        for label in range(classes):
            own = usual[labels == label] if (labels == label).any() else usual
            middle = own.quantile(0.5, dim=0)
            spread = self.width * (own - middle).abs().quantile(0.5, dim=0)
            bounds.append((middle - spread, middle + spread))
        low, high = zip(*bounds, strict=True)
        return torch.stack(low), torch.stack(high)

    def suspect(self, view: DefenderView, loud: Tensor) -> Tensor:
        """Whether each sample's class is of two parts: bool, N.

        A class with no more loud samples than clean images would have is of one.
        """
        suspect = torch.zeros(len(loud), dtype=torch.bool)
        classes = list(filtering.class_features(view))
        gaps = torch.tensor(
            [
                discrepancy.between(features[loud[own]], features[~loud[own]])
                if loud[own].float().mean() > self.false_positive_rate
                else 0.0
                for own, features in classes
            ]
        )
        for (own, _), index in zip(classes, outliers.deviations(gaps), strict=True):
            suspect[own] = bool(index > self.max_index)
        return suspect


def excess(sums: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far each sample leaves its range, relative to the range's ends, on the whole: N.

    Channels that are hardly ever awake have ends near zero: a tenth of the mean end serves there.
    """
    least = (high.abs().mean(1, keepdim=True) / 10).clamp_min(_TINY)
    below = (low - sums).relu() / torch.maximum(low.abs(), least)
    above = (sums - high).relu() / torch.maximum(high.abs(), least)
    return (below + above).mean(1)
