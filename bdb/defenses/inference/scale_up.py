"""SCALE-UP: a triggered input keeps its prediction however much brighter it gets."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.rejection import Rejection, Score
from bdb.method import Paper
from bdb.registry import register
from bdb.training import inference

_LEAST = 1e-3  # deviation of a class whose images are all alike


@register("scale_up")
class ScaleUp(Rejection):
    """Reject inputs whose prediction stays the same when their pixels are multiplied.

    The score is the share of factors that leave the prediction alone, compared with that of
    clean images of the class predicted. There are as many different scores in a class as factors,
    and one, so where many clean images keep their prediction too, the threshold rejects nothing.

    Differs: no fixed threshold, but that of the declared rate of false positives.
    """

    paper: ClassVar[Paper] = Paper(
        title="SCALE-UP: An Efficient Black-box Input-level Backdoor Detection via Analyzing "
        "Scaled Prediction Consistency",
        authors="Guo, Li, Chen, Guo, Sun, Liu",
        venue="ICLR",
        year=2023,
        url="https://arxiv.org/abs/2302.03251",
    )

    factors: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (3, 5, 7, 9, 11), min_length=1, description="that pixels are multiplied by"
    )
    by_class: bool = Field(
        True, description="whether scores are standardised with clean images of the predicted class"
    )

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        """Consistency, in standard deviations above that of known images of the same prediction."""
        if not self.by_class:
            return lambda images: self.consistency(view, images)[:, 1]
        mean, spread = by_class(self.consistency(view, known.images), view.data.num_classes)

        def score(images: Tensor) -> Tensor:
            predicted, consistency = self.consistency(view, images).unbind(1)
            return (consistency - mean[predicted.long()]) / spread[predicted.long()]

        return score

    def consistency(self, view: DefenderView, images: Tensor) -> Tensor:
        """The class predicted, and the share of factors that leave it: float32, N x 2."""

        def compute(batch: Tensor) -> Tensor:
            predicted = view.model(batch).argmax(1)
            scaled = ((factor * batch).clamp(0, 1) for factor in self.factors)
            kept = torch.stack([view.model(bright).argmax(1) == predicted for bright in scaled])
            return torch.stack([predicted.float(), kept.float().mean(0)], 1)

        return inference.in_batches(compute, images, view.device)


def by_class(found: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the consistencies of each class predicted: K, K.

    Args:
        found: predictions and consistencies, N x 2.
        classes: K; a class with fewer than two images has mean and deviation of all.
    """
    predicted, consistency = found[:, 0].long(), found[:, 1]
    members = one_hot(predicted, classes).float()
    count = members.sum(0)
    mean = consistency @ members / count.clamp_min(1)
    square = (consistency - mean[predicted]).square() @ members
    few = count < 2
    mean = torch.where(few, consistency.mean(), mean)
    variance = torch.where(few, consistency.var(correction=0), square / (count - 1).clamp_min(1))
    return mean, variance.sqrt().clamp_min(_LEAST)
