"""Spectral Signatures: poison stands out along the top singular vector of its class."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import filtering
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.registry import register


@register("spectral")
class SpectralSignatures(PreTraining):
    """Drop each class's outliers along its top singular direction, and train again.

    Poison stands out while it is the smaller part of its class: where it is the larger, the clean
    samples lie far from the mean. Without centring, the top direction is nearly that of the mean,
    and whatever is more strongly activated stands out: at any share, if that is the poison.
    """

    paper: ClassVar[Paper] = Paper(
        title="Spectral Signatures in Backdoor Attacks",
        authors="Tran, Li, Madry",
        venue="NeurIPS",
        year=2018,
        url="https://arxiv.org/abs/1811.00636",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "features"})

    removed: float = Field(
        0.15, gt=0, lt=1, description="share of each class to drop: 1.5 times the poison expected"
    )

    centered: bool = Field(
        True, description="whether the class's mean is taken off first, as in the paper"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Score, drop and train again; no class is spared, as published."""
        scores = torch.zeros(len(view.train_set))
        flagged = torch.zeros(len(view.train_set), dtype=torch.bool)
        for positions, features in filtering.class_features(view):
            outlying = signature(features, centered=self.centered)
            scores[positions] = outlying
            worst = outlying.topk(round(self.removed * len(positions))).indices
            flagged[positions[worst]] = True
        return filtering.without(self, view, scores, flagged)


def signature(features: Tensor, *, centered: bool = True) -> Tensor:
    """Squared projections of features (n x D) on their top right singular vector: n."""
    rows = features.double()
    if centered:
        rows = rows - rows.mean(0)
    direction = torch.linalg.svd(rows, full_matrices=False).Vh[0]
    return (rows @ direction).square().float()
