"""SPECTRE: once the clean samples' covariance is divided out, poison stands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import filtering, robust
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.registry import register

_SAMPLES = 10  # of a class, at least, for each dimension: or its covariance is noise


@register("spectre")
class Spectre(PreTraining):
    """Whiten each class by a robust covariance; drop what stands out of the class that shows most.

    Poison is taken for the smaller part of its class: where it is more of it than `expected`, the
    covariance that is divided out is the poison's as well, and it stands out no more.

    Differs: what is dropped lies above a threshold that clean images set, where the paper drops one
    and a half times the poison that it is told of. The reference drops so many of every class.
    """

    paper: ClassVar[Paper] = Paper(
        title="SPECTRE: Defending Against Backdoor Attacks Using Robust Statistics",
        authors="Hayase, Kong, Somani, Oh",
        venue="ICML",
        year=2021,
        url="https://arxiv.org/abs/2104.11315",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "features", "clean_set"})

    expected: float = Field(
        0.2, gt=0, lt=0.5, description="share of a class that the robust covariance may leave out"
    )
    dimensions: tuple[int, ...] = Field(
        (2, 4, 8, 16, 24, 32, 48, 64),
        min_length=1,
        description="of the principal components; a class takes those that show most",
    )
    alpha: float = Field(4.0, gt=0, description="how much loud directions count for the score")
    false_positive_rate: float = Field(
        0.05, gt=0, lt=1, description="share of clean images above the threshold"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Score every class, suspect the one that shows most, and train again without its outliers.

        Raises:
            ParamsError: no class has two samples or a clean image.
        """
        scores = torch.zeros(len(view.train_set))
        clean, clean_labels = view.clean_features.penultimate, view.clean_set.labels.cpu()
        labels = view.train_set.labels.cpu()
        found = []
        for positions, features in filtering.class_features(view):
            if len(positions) > 1:
                own = clean[clean_labels == labels[positions[0]]]
                found.append((self.best(features.double(), own.double()), positions))
                scores[positions] = found[-1][0].scores.float()
        ordinary = [scored.clean for scored, _ in found]
        if not ordinary or not len(torch.cat(ordinary)):
            raise ParamsError(
                "clean_set: no clean image of a class with two samples; raise fraction"
            )
        threshold = torch.cat(ordinary).quantile(1 - self.false_positive_rate)
        _, suspects = max(found, key=lambda pair: pair[0].strength)
        flagged = torch.zeros(len(scores), dtype=torch.bool)
        flagged[suspects] = scores[suspects] > threshold
        return filtering.without(self, view, scores, flagged)

    def best(self, features: Tensor, clean: Tensor) -> Scored:
        """One class (n x D) and its clean images (m x D), in as many dimensions as show most."""
        mean = features.mean(0)
        basis = torch.linalg.svd(features - mean, full_matrices=False).Vh
        most = max(1, min(len(features) // _SAMPLES, len(basis)))
        points, others = ((rows - mean) @ basis.T for rows in (features, clean))
        counts = sorted({min(count, most) for count in self.dimensions})
        every = (self.score(points[:, :count], others[:, :count]) for count in counts)
        return max(every, key=lambda scored: scored.strength)

    def score(self, points: Tensor, clean: Tensor) -> Scored:
        """Quantum-entropy scores of n x k and m x k points, white by what is usual of the first."""
        usual = robust.usual(points, self.expected)
        mean, whiten = robust.whitening(usual)
        rows, others = (points - mean) @ whiten, (clean - mean) @ whiten
        identity = torch.eye(rows.shape[1], dtype=rows.dtype)
        excess = rows.T @ rows / len(rows) - identity
        loudest = torch.linalg.eigvalsh(excess)[-1]
        # Less the identity, which the trace undoes: so that the largest weight is one.
        weights = torch.matrix_exp(
            self.alpha * (excess - loudest * identity) / loudest.clamp_min(1e-9)
        )
        weights /= weights.trace()
        scores = ((rows @ weights) * rows).sum(1)
        return Scored(scores, ((others @ weights) * others).sum(1), float(scores.mean()))


@dataclass(frozen=True)
class Scored:
    """A class's samples (n), its clean images (m), and how much stands out of it as a whole."""

    scores: Tensor
    clean: Tensor
    strength: float
