"""Fine-pruning: switch off features that clean images do not use, then fine-tune."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import inference
from bdb.training.recipes import Recipe


@register("fp")
class FinePruning(PostTraining):
    """Prune the penultimate features least active on clean images, and fine-tune the rest.

    How many are pruned is decided on clean images that the ranking does not see. Then all of them
    may serve to fine-tune, since nothing is left to choose.

    Differs: BackdoorBench stops pruning where the accuracy on the test set falls.
    """

    paper: ClassVar[Paper] = Paper(
        title="Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks",
        authors="Liu, Dolan-Gavitt, Garg",
        venue="RAID",
        year=2018,
        url="https://arxiv.org/abs/1805.12185",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    step: float = Field(0.01, gt=0, le=1, description="share of the features pruned at a time")
    max_drop: float = Field(
        0.1, gt=0, le=1, description="relative loss of held-out accuracy at which pruning stops"
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="share of the clean set that decides when to stop"
    )
    tune_on: Literal["all", "rest"] = Field(
        "all", description="the clean images to fine-tune on: all, or those that decided nothing"
    )
    epochs: int = Field(100, ge=1, description="passes over those images")
    batch_size: int = Field(256, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate, annealed along a cosine")

    def run(self, view: DefenderView) -> Outcome:
        """Prune and fine-tune; the mask stays, and is part of the model."""
        kept, held = view.split_clean(self.held_out)
        mask = self.choose(view.model, kept, held)
        model = models.wrap(view.model, "feature_mask").to(view.device)
        model.get_buffer("mask").copy_(mask)
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)
        view.fit(model, view.clean_set if self.tune_on == "all" else kept, recipe)
        return Outcome(model=model)

    @torch.no_grad()
    def choose(self, model: Classifier, kept: ImageSet, held: ImageSet) -> Tensor:
        """The last mask before the loss of held-out accuracy reaches `max_drop`.

        Args:
            model: as delivered.
            kept: rank the features by their mean activation.
            held: decide how many go.

        Returns:
            float32, D, on the CPU: 0 where a feature is pruned.
        """
        order = inference.features(model, kept.images).mean(0).argsort()
        features = inference.features(model, held.images)
        device = model.head.weight.device

        def accuracy(mask: Tensor) -> float:
            logits = model.classify((features * mask).to(device)).cpu()
            return float((logits.argmax(1) == held.labels.cpu()).float().mean())

        chosen = torch.ones(len(order))
        floor = (1 - self.max_drop) * accuracy(chosen)
        stride = max(1, round(self.step * len(order)))
        for count in range(stride, len(order), stride):
            mask = torch.ones(len(order))
            mask[order[:count]] = 0
            if accuracy(mask) <= floor:
                break
            chosen = mask
        return chosen
