"""SAU: unlearn what fools the suspect and its successor alike."""

from __future__ import annotations

from math import log
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.defenses.unlikelihood import unlikelihood
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import adversarial
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("sau")
class SharedAdversarialUnlearning(PostTraining):
    """Train a copy not to fall for adversarial images as the suspect does.

    For every batch, images are searched that fool both models, and that both give the same answer.
    Where the suspect is fooled, its successor learns to give another answer than that.

    Differs: BackdoorBench leaves images alone in the search once they are fooled, and once both
    agree. The two terms of its unlearning are the same number, and one here.
    """

    paper: ClassVar[Paper] = Paper(
        title="Shared Adversarial Unlearning: Backdoor Mitigation by Unlearning Shared Adversarial "
        "Examples",
        authors="Wei, Zhang, Zha, Wu",
        venue="NeurIPS",
        year=2023,
        url="https://arxiv.org/abs/2307.10562",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})

    epochs: int = Field(100, ge=1, description="passes over the clean set")
    batch_size: int = Field(256, ge=2, description="samples per step")
    lr: float = Field(1e-4, gt=0, description="learning rate of Adam, constant")
    eps: float = Field(0.2, gt=0, le=1, description="radius of the search, in pixels of [0, 1]")
    steps: int = Field(5, ge=1, description="of the search")
    stride: float = Field(0.2, gt=0, le=1, description="of its steps, in pixels of [0, 1]")
    fooling: float = Field(0.01, ge=0, description="search: weight of both models' cross-entropy")
    sharing: float = Field(1.0, ge=0, description="search: weight of how much both agree")
    unlearning: float = Field(1.0, ge=0, description="weight of the suspect's wrong answers")

    def run(self, view: DefenderView) -> Outcome:
        """Unlearn; the last epoch counts. Batch statistics stay as they are."""
        suspect = models.duplicate(view.model).requires_grad_(False)

        def step(model: nn.Module, batch: Batch) -> Tensor:
            return self.loss(model, suspect, batch)

        recipe = Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer="adam",
            lr=self.lr,
            weight_decay=0,
            schedule="constant",
            augment=False,
        )
        view.fit(view.model, view.clean_set, recipe, step=step, train_mode=False)
        return Outcome(model=view.model)

    def loss(self, model: nn.Module, suspect: Classifier, batch: Batch) -> Tensor:
        """Of the images, and of the suspect's wrong answers to others nearby."""
        nearby = self.search(model, suspect, batch)
        wrong = suspect(nearby).argmax(1)
        clean, moved = model(torch.cat([batch.images, nearby])).chunk(2)
        penalty = unlikelihood(moved, wrong) * (wrong != batch.labels)
        return cross_entropy(clean, batch.labels) + self.unlearning * penalty.mean()

    def search(self, model: nn.Module, suspect: Classifier, batch: Batch) -> Tensor:
        """Images within the radius that fool both models alike: float32, N x C x H x W."""
        images, labels = batch.images, batch.labels
        low, high = images - self.eps, images + self.eps

        def objective(moved: Tensor) -> Tensor:
            new, old = model(moved).float(), suspect(moved).float()
            fooled = cross_entropy(new, labels, reduction="sum")
            fooled = fooled + cross_entropy(old, labels, reduction="sum")
            return self.fooling * fooled / 2 - self.sharing * divergence(new, old).sum()

        start = images + self.eps * (2 * batch.rand(*images.shape) - 1).sign()
        return adversarial.climb(
            model,
            objective,
            start.clamp(0, 1),
            self.steps,
            self.stride,
            lambda moved: moved.clamp(low, high),
        )


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen and Shannon's, of what two logits stand for: float, N."""
    logs = torch.stack([first.log_softmax(1), second.log_softmax(1)])
    middle = logs.logsumexp(0) - log(2)
    return kl_div(middle, logs, reduction="none", log_target=True).sum(2).mean(0)
