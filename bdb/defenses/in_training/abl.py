"""Anti-Backdoor Learning: poison is learned first, so it can be told apart and unlearned."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.defenses.base import DefenderView, InTraining, Outcome
from bdb.method import Paper
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import graphs, inference
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

Schedule = Literal["constant", "cosine"]


@register("abl")
class AntiBackdoorLearning(InTraining):
    """Train, isolate what is learned too easily, train on the rest, unlearn the isolated.

    Differs: the second stage's rate falls along a cosine, where the paper divides it by ten.
    """

    paper: ClassVar[Paper] = Paper(
        title="Anti-Backdoor Learning: Training Clean Models on Poisoned Data",
        authors="Li, Lyu, Koren, Lyu, Li, Ma",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2110.11571",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"train_set"})

    trap: Literal["flooding", "lga"] = Field(
        "flooding", description="what is held at gamma: a batch's mean loss, or each sample's"
    )
    gamma: float = Field(0.5, ge=0, description="loss below which ordinary samples are held")
    isolated: float = Field(0.01, gt=0, lt=1, description="share of the training set isolated")
    isolation_epochs: int = Field(20, ge=1, description="passes before the isolation")
    tuning_epochs: int = Field(60, ge=1, description="passes over what is left")
    unlearning_epochs: int = Field(20, ge=1, description="passes of gradient ascent")
    batch_size: int = Field(128, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate up to the isolation")
    schedule: Schedule = Field("constant", description="how that rate goes up to the isolation")
    tuning_lr: float = Field(0.01, gt=0, description="learning rate of the second stage")
    unlearning_lr: float = Field(5e-4, gt=0, description="learning rate of the ascent")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="in all stages")

    def run(self, view: DefenderView) -> Outcome:
        """Train a model of our own; a sample's score is its negative loss when isolated."""
        data = view.train_set
        model, losses, flagged = self.isolate(view)
        mask = flagged.to(data.labels.device)
        rest = self.recipe(self.tuning_epochs, self.tuning_lr, "cosine")
        view.fit(model, data[~mask], rest, what="tune")
        last = self.recipe(self.unlearning_epochs, self.unlearning_lr, "constant", augment=False)
        view.fit(model, data[mask], last, step=ascent, what="unlearn")
        return Outcome(model=model, scores={"train": -losses}, flagged={"train": flagged})

    def isolate(self, view: DefenderView) -> tuple[Classifier, Tensor, Tensor]:
        """A model after the first stage, every sample's loss under it, and which are isolated."""
        model, data = view.build_model("abl"), view.train_set
        recipe = self.recipe(self.isolation_epochs, self.lr, self.schedule, augment=False)
        view.fit(model, data, recipe, step=self.trapped, what="isolate")
        losses = sample_losses(model, data.images, data.labels)
        flagged = torch.zeros(len(data), dtype=torch.bool)
        flagged[losses.topk(max(1, round(self.isolated * len(data))), largest=False).indices] = True
        return model, losses, flagged

    def recipe(self, epochs: int, lr: float, schedule: Schedule, *, augment: bool = True) -> Recipe:
        """How one stage is trained."""
        return Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            lr=lr,
            nesterov=True,
            weight_decay=self.weight_decay,
            schedule=schedule,
            augment=augment,
        )

    @graphs.recordable
    def trapped(self, model: nn.Module, batch: Batch) -> Tensor:
        """The first stage's loss: descent above gamma, ascent below.

        Flooding has the gradients of local gradient ascent over a batch.
        """
        losses = cross_entropy(model(batch.images), batch.labels, reduction="none")
        if self.trap == "flooding":
            return (losses.mean() - self.gamma).abs() + self.gamma
        return ((losses.detach() - self.gamma).sign() * losses).mean()


@graphs.recordable
def ascent(model: nn.Module, batch: Batch) -> Tensor:
    """The last stage's loss: away from the labels given."""
    return -cross_entropy(model(batch.images), batch.labels)


def sample_losses(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of every sample: float32, N, on the CPU."""
    return cross_entropy(inference.logits(model, images), labels.cpu(), reduction="none")
