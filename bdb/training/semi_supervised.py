"""MixMatch: the model guesses the labels that are missing, and learns all of them mixed.

Berthelot, Carlini, Goodfellow, Oliver, Papernot, Raffel: MixMatch: A Holistic Approach to
Semi-Supervised Learning, NeurIPS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from bdb.training.batches import Batch, to_float


@dataclass(frozen=True)
class MixMatch:
    """The step for labelled batches, each with an unlabelled one in `batch.other`.

    Differs: all mixed images of a step share their batch statistics, since they pass together;
    the reference gets near that by exchanging images between several smaller batches.

    Attributes:
        classes: how many there are.
        rng: draws how much is mixed.
        epochs: over which the weight of the unlabelled images rises from 0, evenly.
        weight: of the unlabelled images at the end.
        temperature: of the guesses: below 1 it makes them surer.
        alpha: of the Beta distribution of the mixture: the lower, the less is mixed.
        views: augmentations of an unlabelled image over which its guess is the mean.
    """

    classes: int
    rng: np.random.Generator
    epochs: int
    weight: float
    temperature: float
    alpha: float
    views: int = 2

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of both batches; labels of the unlabelled one are not looked at."""
        assert batch.other is not None, "a second stream brings the unlabelled images"
        pixels = batch.other.pixels
        views = torch.cat([to_float(batch.other.augment(pixels)) for _ in range(self.views)])
        guesses = self.guess(model, views).repeat(self.views, 1)
        known = one_hot(batch.labels, self.classes).float()
        images, targets = self.mix(
            torch.cat([batch.images, views]), torch.cat([known, guesses]), batch.generator
        )
        logits = model(images).float()
        labelled = cross_entropy(logits[: len(batch)], targets[: len(batch)])
        unlabelled = mse_loss(logits[len(batch) :].softmax(1), targets[len(batch) :])
        return labelled + self.weight * min(1.0, batch.epoch / self.epochs) * unlabelled

    @torch.no_grad()
    def guess(self, model: nn.Module, views: Tensor) -> Tensor:
        """What the model takes images for, over their views, made surer.

        Args:
            model: whose guesses they are; its mode stays.
            views: floats, VN x C x H x W: the first view of every image, then the second.

        Returns:
            float32, N x K: probabilities.
        """
        mean = model(views).float().softmax(1).unflatten(0, (self.views, -1)).mean(0)
        sharp = mean ** (1 / self.temperature)
        return sharp / sharp.sum(1, keepdim=True)

    def mix(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mix each image and target with those of another, of which less is in it than of its own.

        One draw for the batch says how much.
        """
        share = float(self.rng.beta(self.alpha, self.alpha))
        own = max(share, 1 - share)
        order = torch.randperm(len(images), generator=generator, device=generator.device)
        return images.lerp(images[order], 1 - own), targets.lerp(targets[order], 1 - own)
