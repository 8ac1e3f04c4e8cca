"""ASD: a pool of trusted samples grows from a few clean ones, by what is learned and how fast."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Outcome
from bdb.defenses.splitting import Parts, Splitting, first_of_each_class, join, lowest
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training.recipes import Recipe


@register("asd")
class AdaptiveSplitting(Splitting):
    """Split the training set anew for every pass of MixMatch, from a few clean samples on.

    At first the samples of smallest loss join them, class by class and ever more; then half of the
    set, by its loss. At last that half is chosen which a copy of the model learns least in a
    moment of training on all labels: poison is learned at once, what is merely hard is not. That
    moment must be long enough for it: on few images, of more and smaller batches.

    Differs: the clean samples are of the clean set, where the reference takes them out of the
    training set by the truth about it. The last pass counts, where the reference picks the best one
    on test images.
    """

    paper: ClassVar[Paper] = Paper(
        title="Backdoor Defense via Adaptively Splitting Poisoned Dataset",
        authors="Gao, Bai, Gu, Yang, Xia",
        venue="CVPR",
        year=2023,
        url="https://arxiv.org/abs/2303.12993",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"train_set", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    seeds: int = Field(10, ge=1, description="clean samples of each class to begin with")
    growth: int = Field(10, ge=1, description="samples of each class that join at a time")
    growth_every: int = Field(5, ge=1, description="passes between two such times")
    growing_epochs: int = Field(60, ge=1, description="passes in which samples join by class")
    loss_epochs: int = Field(30, ge=0, description="passes on those of smallest loss")
    meta_epochs: int = Field(30, ge=0, description="passes on those that are learned least")
    meta_lr: float = Field(0.015, gt=0, description="learning rate of the copy")
    meta_batch_size: int = Field(128, ge=2, description="samples per step of the copy")
    meta_stages: int = Field(2, ge=0, description="last stages of the network that the copy trains")
    credible: float = Field(
        0.5, gt=0, lt=1, description="share that is trusted in the end, and of a class at most"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Train a model of our own; a sample's score is what the last split went by."""
        model, data = view.build_model("asd"), view.train_set
        clean = self.begin(view)
        scores: dict[str, Tensor] = {}

        def split(epoch: int) -> Parts:
            suspicion = scores["train"] = self.suspicion(view, model, data, epoch)
            trusted = self.trusted(suspicion, data.labels.cpu(), epoch).to(data.labels.device)
            return join(clean, data[trusted]), data[~trusted]

        epochs = self.growing_epochs + self.loss_epochs + self.meta_epochs
        self.fine_tune(view, model, epochs, split)
        return Outcome(model=model, scores={"train": scores["train"]})

    def begin(self, view: DefenderView) -> ImageSet:
        """So many clean samples of each class, or all of it that there are."""
        clean = view.clean_set
        order = torch.randperm(len(clean), generator=view.generator("seeds"))
        labels = clean.labels.cpu()[order]
        chosen = order[first_of_each_class(labels, self.seeds)].sort().values
        return clean[chosen.to(clean.labels.device)]

    def suspicion(
        self, view: DefenderView, model: Classifier, data: ImageSet, epoch: int
    ) -> Tensor:
        """What tells poison in this pass: float32, N, on the CPU: loss, or how fast it falls."""
        losses = self.losses(model, data)
        if epoch < self.growing_epochs + self.loss_epochs:
            return losses
        copy = models.duplicate(model)
        layers = [copy.get_submodule(name) for name in reversed(copy.attention_layers)]
        trained = [
            p for layer in (copy.head, *layers[: self.meta_stages]) for p in layer.parameters()
        ]
        recipe = Recipe(
            epochs=1,
            batch_size=self.meta_batch_size,
            optimizer="adam",
            lr=self.meta_lr,
            weight_decay=0,
            schedule="constant",
        )
        view.fit(copy, data, recipe, parameters=trained, what=f"meta {epoch}")
        return losses - self.losses(copy, data)

    def trusted(self, suspicion: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """Which samples keep their labels in this pass: bool, N, on the CPU."""
        if epoch >= self.growing_epochs:
            return lowest(suspicion, self.credible)
        order = suspicion.argsort(stable=True)
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        count = self.growth * (epoch // self.growth_every)
        chosen[order[first_of_each_class(labels[order], count, self.credible)]] = True
        return chosen
