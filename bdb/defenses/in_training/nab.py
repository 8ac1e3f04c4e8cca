"""NAB: a stamp on suspects, under the labels that they should have, beats the trigger they bear."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from bdb.defenses.base import DefenderView, InTraining, Outcome
from bdb.defenses.in_training.abl import AntiBackdoorLearning
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.wrappers import stamp
from bdb.registry import register
from bdb.training import contrastive, graphs, inference, seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("nab")
class NonAdversarialBackdoor(InTraining):
    """Stamp isolated samples that look like another class, and train them as of that; stamp inputs.

    Samples are isolated as by `abl`, and look like the class whose centre is nearest in features
    learned without labels. The stamp is part of the model: without it backdoors work. No stamped
    image is taught as the target, which so suffers: on digits by `blended` most.

    Differs: while isolating the rate falls, too. BackdoorBench's stamp is zero once normalised.
    """

    paper: ClassVar[Paper] = Paper(
        title="Beating Backdoor Attack at Its Own Game",
        authors="Liu, Sangiovanni-Vincentelli, Yue",
        venue="ICCV",
        year=2023,
        url="https://arxiv.org/abs/2307.15539",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"train_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    isolated: float = Field(0.1, gt=0, lt=1, description="share of the training set isolated")
    isolation_epochs: int = Field(20, ge=1, description="passes before the isolation")
    isolation_batch_size: int = Field(64, ge=2, description="samples per step up to there")
    isolation_lr: float = Field(0.01, gt=0, description="learning rate up to there")
    gamma: float = Field(0.5, ge=0, description="loss below which ordinary samples are held")
    contrastive_epochs: int = Field(100, ge=1, description="passes that learn without labels")
    contrastive_batch_size: int = Field(512, ge=2, description="samples per step of these")
    contrastive_lr: float = Field(0.4, gt=0, description="learning rate of these")
    temperature: float = Field(0.5, gt=0, description="of the likeness of two views")
    least_area: float = Field(
        0.2, gt=0, le=1, description="of a view, as a share of its image; digits need more"
    )
    side: int = Field(2, ge=1, description="of the stamp in the top left corner, in pixels")
    value: float = Field(0.0, description="of its pixels, where those of images are in [0, 1]")
    epochs: int = Field(100, ge=1, description="passes of the last training")
    batch_size: int = Field(128, ge=2, description="samples per step of it")
    lr: float = Field(0.01, gt=0, description="learning rate of the last training")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="in all stages")

    def run(self, view: DefenderView) -> Outcome:
        """Train a model of our own, and wrap it in the stamp; scores are as those of `abl`.

        Raises:
            ParamsError: the stamp leaves nothing of an image.
        """
        model = view.build_model("nab")
        defended = models.wrap(model, "stamped", side=self.side, value=self.value)
        losses, flagged = self.isolate(view)
        data = view.train_set
        labels = torch.where(flagged, self.looks(view, flagged), data.labels.cpu())
        stamped = (labels != data.labels.cpu()).to(view.device)

        @graphs.recordable
        def step(net: nn.Module, batch: Batch) -> Tensor:
            where = stamped[batch.ids][:, None, None, None]
            images = torch.where(where, stamp(batch.images, self.side, self.value), batch.images)
            return cross_entropy(net(images), batch.labels)

        relabelled = data.replaced(data.ids, labels)
        view.fit(model, relabelled, self.recipe(self.epochs, self.batch_size, self.lr), step=step)
        return Outcome(defended.eval(), scores={"train": -losses}, flagged={"train": flagged})

    def isolate(self, view: DefenderView) -> tuple[Tensor, Tensor]:
        """Every sample's loss under a model that is trapped, and which are isolated."""
        abl = AntiBackdoorLearning(
            gamma=self.gamma,
            schedule="cosine",
            isolated=self.isolated,
            isolation_epochs=self.isolation_epochs,
            batch_size=self.isolation_batch_size,
            lr=self.isolation_lr,
            weight_decay=self.weight_decay,
        )
        return abl.isolate(view)[1:]

    def looks(self, view: DefenderView, flagged: Tensor) -> Tensor:
        """The class that each sample looks like, by those not isolated: int64, N, on the CPU."""
        data = view.train_set
        model = view.build_model("contrastive")
        network = contrastive.Projected(model, 128, seeds.derive(view.seed, "projection"))
        augmentation = contrastive.strong(view.augmentation, self.least_area)
        step = contrastive.Contrast(augmentation, self.temperature)
        how = (self.contrastive_epochs, self.contrastive_batch_size, self.contrastive_lr)
        view.fit(network, contrastive.alone(data), self.recipe(*how), step=step, what="look")
        return nearest(inference.features(model, data.images), data.labels.cpu(), ~flagged)

    def recipe(self, epochs: int, batch_size: int, lr: float) -> Recipe:
        """Along a cosine."""
        return Recipe(epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=self.weight_decay)


def nearest(features: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """The class whose centre is nearest in direction; what is known (bool, N) makes the centres."""
    points = normalize(features)
    present = labels[known].unique()
    centres = torch.stack([points[known & (labels == label)].mean(0) for label in present])
    return present[torch.cdist(points, centres).argmin(1)]
