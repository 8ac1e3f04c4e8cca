"""AGPD: the gradients of poison under its label do not go the way of clean images'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from bdb.defenses import filtering, label_gradients, outliers
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.registry import register

_SPREAD = 1e-4  # less is rounding: before a linear head all gradients of a label are one
_ROUNDS = 50  # of moving the direction of the poison


@register("agpd")
class ActivationGradients(PreTraining):
    """Where a class's gradients scatter, drop what goes with the farthest, not with clean images.

    Of every sample the gradient of its label's logit after each stage is taken, averaged over the
    map. Clean images of each class give its direction, so that poison may be the larger part.

    Differs: from the published abstract. The stage and the classes are chosen by how much farther
    than clean images the training samples lie; the filter moves the poison's direction until no
    sample changes sides, and clean images set the threshold, where the paper adds samples until two
    distributions settle.
    """

    paper: ClassVar[Paper] = Paper(
        title="Activation Gradient based Poisoned Sample Detection Against Backdoor Attacks",
        authors="Yuan, Zhang, Wei, Liu, Wu",
        venue="ICLR",
        year=2025,
        url="https://arxiv.org/abs/2312.06230",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})
    min_classes: ClassVar[int] = 3

    max_index: float = Field(
        math.e**2, gt=0, description="anomaly index among the classes from which one is suspect"
    )
    false_positive_rate: float = Field(
        0.05, gt=0, lt=1, description="share of a suspect class's clean images above the threshold"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Judge the classes after every stage, part those where most is seen, and train again.

        A sample's score is its class's anomaly index there, times how far it turns to the poison.
        """
        data, clean = view.train_set, view.clean_set
        labels, known = data.labels.cpu(), clean.labels.cpu()
        stages = (label_gradients.of(view.model, each) for each in (data, clean))
        every = [
            [Turned.of(own[labels == k], usual[known == k]) for k in range(view.data.num_classes)]
            for own, usual in zip(*stages, strict=True)
        ]
        index = outliers.deviations(torch.tensor([[c.gap for c in stage] for stage in every]))
        stage = int(index.amax(1).argmax())
        scores = torch.zeros(len(labels))
        flagged = torch.zeros(len(labels), dtype=torch.bool)
        for label, (turned, anomaly) in enumerate(zip(every[stage], index[stage], strict=True)):
            scores[labels == label] = turned.share * anomaly.clamp_min(0)
            usual = turned.clean.quantile(1 - self.false_positive_rate) if len(turned.clean) else 1
            flagged[labels == label] = (turned.share > usual) & (anomaly > self.max_index)
        return filtering.without(self, view, scores, flagged)


@dataclass(frozen=True)
class Turned:
    """How a class's gradients lie after one stage.

    Attributes:
        gap: how many times as far as clean images its samples lie from the clean direction.
        share: of each sample, from 0 (the clean direction) to 1 (that of the farthest): n.
        clean: the same of the clean images: m.
    """

    gap: float
    share: Tensor
    clean: Tensor

    @classmethod
    def of(cls, own: Tensor, clean: Tensor) -> Turned:
        """Of a class's gradients (n x C) and those of clean images (m x C); m or n may be 0."""
        direction = normalize(clean.mean(0), dim=0) if len(clean) else clean.new_zeros(0)
        usual = distance(clean, direction).mean() if len(clean) else torch.zeros(())
        if not len(own) or usual < _SPREAD:
            return cls(1.0, torch.zeros(len(own)), torch.zeros(len(clean)))
        far = distance(own, direction)
        poison = own[far.argmax()]
        for _ in range(_ROUNDS):
            share = between(own, direction, poison)
            moved = normalize(own[share > 0.5].mean(0), dim=0) if (share > 0.5).any() else poison
            if torch.equal(moved, poison):
                break
            poison = moved
        return cls(float(far.mean() / usual), share, between(clean, direction, poison))


def between(rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Where rows lie from one direction (0) to another (1): n."""
    far = distance(rows, one)
    return far / (far + distance(rows, other)).clamp_min(1e-12)


def distance(rows: Tensor, direction: Tensor) -> Tensor:
    """One less the cosine: n x C and C -> n, from 0 to 2."""
    return 1 - cosine_similarity(rows, direction[None], dim=1)
