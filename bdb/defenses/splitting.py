"""What defenses share that trust a part of the training set, and guess the labels of the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import log

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, InTraining
from bdb.models.base import Classifier
from bdb.training import inference
from bdb.training.recipes import Recipe
from bdb.training.semi_supervised import MixMatch

# What a probability of 0 counts as in the reverse term, which would be infinite.
_SURPRISE = -log(1e-4)

Parts = tuple[ImageSet, ImageSet]


class Splitting(InTraining):
    """Trains by MixMatch on what looks credible, without the labels of what does not."""

    iterations: int = Field(1024, ge=1, description="steps of a pass of MixMatch")
    batch_size: int = Field(64, ge=2, description="labelled samples per step, and as many without")
    lr: float = Field(0.002, gt=0, description="learning rate of Adam, constant")
    unlabelled_weight: float = Field(
        15.0, ge=0, description="weight of samples without label at the end, up from 0"
    )
    temperature: float = Field(0.5, gt=0, le=1, description="the lower, the surer are guesses")
    mixup: float = Field(0.75, gt=0, description="both parameters of the Beta distribution")
    alpha: float = Field(0.1, ge=0, description="weight of the cross-entropy in the splits' loss")
    beta: float = Field(1.0, ge=0, description="weight of the reverse cross-entropy in it")

    def fine_tune(
        self, view: DefenderView, model: Classifier, epochs: int, split: Callable[[int], Parts]
    ) -> None:
        """Train a model in place.

        Args:
            view: the defender's.
            model: on the device.
            epochs: passes of so many `iterations`.
            split: of the epoch: what is trained on with labels, and what without. It is asked once
                at the start of each, and sees the model as it then is.
        """
        parts = lru_cache(maxsize=1)(split)
        draws = view.generator("labelled")

        def labelled(epoch: int) -> ImageSet:
            trusted = parts(epoch)[0]
            order = torch.randperm(len(trusted), generator=draws)
            places = torch.arange(self.iterations * self.batch_size) % len(trusted)
            return trusted[order[places].to(trusted.labels.device)]

        step = MixMatch(
            classes=view.data.num_classes,
            rng=view.rng("mixup"),
            epochs=epochs,
            weight=self.unlabelled_weight,
            temperature=self.temperature,
            alpha=self.mixup,
        )
        recipe = self.recipe(epochs, self.batch_size)
        view.fit(model, labelled, recipe, step=step, other=lambda e: parts(e)[1], what="mixmatch")

    def recipe(self, epochs: int, batch_size: int) -> Recipe:
        """How a stage is trained."""
        return Recipe(
            epochs=epochs,
            batch_size=batch_size,
            optimizer="adam",
            lr=self.lr,
            weight_decay=0,
            schedule="constant",
        )

    def losses(self, model: Classifier, data: ImageSet) -> Tensor:
        """How little each sample's label is believed, without augmentation: float32, N, CPU."""
        return self.symmetric(inference.logits(model, data.images), data.labels.cpu())

    def symmetric(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Symmetric cross-entropy (Wang et al., ICCV 2019) of each sample: float32, N.

        The reverse term is the probability of all other classes, times a constant.
        """
        logits = logits.float()
        forward = cross_entropy(logits, labels, reduction="none")
        right = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        return self.alpha * forward + self.beta * _SURPRISE * (1 - right)


def lowest(values: Tensor, share: float) -> Tensor:
    """Which values are the lowest: bool, N; of two and more neither none nor all."""
    count = max(1, min(round(share * len(values)), len(values) - 1))
    chosen = torch.zeros(len(values), dtype=torch.bool)
    chosen[values.argsort(stable=True)[:count]] = True
    return chosen


def first_of_each_class(labels: Tensor, count: int, share: float = 1.0) -> Tensor:
    """Which samples are among the first so many of their class, or this share of it: bool, N."""
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        chosen[own[: min(count, int(share * len(own)))]] = True
    return chosen


def join(first: ImageSet, second: ImageSet) -> ImageSet:
    """Both sets in one."""
    pairs = ((first.images, second.images), (first.labels, second.labels), (first.ids, second.ids))
    return ImageSet(*(torch.cat(pair) for pair in pairs))
