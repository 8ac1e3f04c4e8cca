"""SCAn: a poisoned class is of two groups, and clean images tell which is which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import filtering, outliers
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.registry import register

_ROUNDS = 50  # of moving the two centres


@register("scan")
class Scan(PreTraining):
    """Split each class in two; drop the part that clean images are not of, where two explain more.

    Which part is the poison is told by the clean images, so that it may be the larger one. Where
    poison has its class's features (clean labels, Adaptive-Blend), no class falls apart.

    Differs: how much better two groups explain a class than one is taken by the sample, so that
    large classes are not suspect for their size; the spread within classes is that of the clean
    images, where the paper estimates it together with that of the classes' means.
    """

    paper: ClassVar[Paper] = Paper(
        title="Demon in the Variant: Statistical Analysis of DNNs for Robust Backdoor "
        "Contamination Detection",
        authors="Tang, Wang, Tang, Zhang",
        venue="USENIX Security",
        year=2021,
        url="https://arxiv.org/abs/1908.00686",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "features", "clean_set"})
    min_classes: ClassVar[int] = 3

    max_index: float = Field(
        math.e**2, gt=0, description="anomaly index among the classes from which one is suspect"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Split every class, judge how much that explains, drop and train again.

        A sample's score says how far it leans to the part that is less the clean images', in
        proportion to its class's anomaly index.
        """
        clean, clean_labels = view.clean_features.penultimate, view.clean_set.labels.cpu()
        labels = view.train_set.labels.cpu()
        whiten = within(clean.double(), clean_labels)
        positions, halves = [], []
        for own, features in filtering.class_features(view):
            known = clean[clean_labels == labels[own[0]]].double()
            positions.append(own)
            halves.append(split(features.double() @ whiten, known @ whiten))
        index = outliers.deviations(torch.tensor([half.gain for half in halves]))
        scores = torch.zeros(len(labels))
        flagged = torch.zeros(len(labels), dtype=torch.bool)
        for own, half, anomaly in zip(positions, halves, index.tolist(), strict=True):
            scores[own] = max(anomaly, 0.0) * half.leaning.float()
            flagged[own] = (half.leaning > 0) & (anomaly > self.max_index)
        return filtering.without(self, view, scores, flagged)


@dataclass(frozen=True)
class Halves:
    """A class in two parts.

    Attributes:
        leaning: of its samples, n: from -1 (centre of the clean images' part) to 1 (of the other).
        gain: how much smaller two centres make the mean squared distance than one.
    """

    leaning: Tensor
    gain: float


def within(features: Tensor, labels: Tensor) -> Tensor:
    """What makes the spread of N x D features within their classes white: D x D.

    Few images do not span D dimensions: towards those that they do not, the spread is taken for a
    hundredth of the mean.
    """
    means = torch.stack([features[labels == label].mean(0) for label in labels])
    rest = features - means
    values, vectors = torch.linalg.eigh(rest.T @ rest / len(rest))
    floor = values.mean().clamp_min(1e-12) * 0.01
    return (vectors / values.clamp_min(floor).sqrt()) @ vectors.T


def split(points: Tensor, clean: Tensor) -> Halves:
    """The two parts of white points (n x D) of which clean ones (m x D) are rather of the first.

    Begins with the two sides of the first principal component, so that nothing is drawn.
    """
    side = points @ torch.linalg.svd(points - points.mean(0), full_matrices=False).Vh[0]
    second = side > side.mean()
    for _ in range(_ROUNDS):
        if second.all() or not second.any():
            return Halves(torch.zeros(len(points)), 0.0)
        centres = torch.stack([points[~second].mean(0), points[second].mean(0)])
        near, far = torch.cdist(points, centres).unbind(1)
        second = far < near
    leaning = (near - far) / (near + far).clamp_min(1e-12)
    share = second.double().mean()
    gain = share * (1 - share) * (centres[0] - centres[1]).square().sum()
    theirs = torch.cdist(clean, centres).argmin(1).double().mean()
    first_is_clean = theirs < 0.5 if len(clean) else share < 0.5
    return Halves(leaning if first_is_clean else -leaning, float(gain))
