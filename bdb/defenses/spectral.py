"""Spectral Signatures: poison stands out along the top singular vector of its class."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import filtering
from bdb.defenses.base import DefenderView, Defense, Outcome
from bdb.method import Paper
from bdb.registry import register


@register("spectral")
class SpectralSignatures(Defense):
    """Drop each class's outliers along its top singular direction, and train again."""

    paper: ClassVar[Paper] = Paper(
        title="Spectral Signatures in Backdoor Attacks",
        authors="Tran, Li, Madry",
        venue="NeurIPS",
        year=2018,
        url="https://arxiv.org/abs/1811.00636",
    )
    stage: ClassVar = "pre-training"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "features"})

    removed: float = Field(
        0.15, gt=0, lt=1, description="share of each class to drop: 1.5 times the poison expected"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Score, drop and train again; no class is spared, as published."""
        scores = torch.zeros(len(view.train_set))
        flagged = torch.zeros(len(view.train_set), dtype=torch.bool)
        for positions, features in filtering.class_features(view):
            outlying = signature(features)
            scores[positions] = outlying
            worst = outlying.topk(round(self.removed * len(positions))).indices
            flagged[positions[worst]] = True
        model = filtering.retrain(view, flagged)
        return Outcome(model=model, scores={"train": scores}, flagged={"train": flagged})


def signature(features: Tensor) -> Tensor:
    """Squared projections of centred features (n x D) on their top right singular vector: n."""
    centred = (features - features.mean(0)).double()
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return (centred @ direction).square().float()
