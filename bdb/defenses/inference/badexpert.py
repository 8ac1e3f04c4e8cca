"""BaDExpert: a model that has forgotten all but the backdoor tells what the backdoor answers."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.rejection import Rejection, Score
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import inference
from bdb.training.recipes import Recipe


@register("badexpert")
class BackdoorExpert(Rejection):
    """Reject inputs whose answer an expert of the backdoor shares, and a fine-tuned model does not.

    The expert is the suspect, taught a little that clean images are of the next class: it forgets
    them first. The other is the suspect, fine-tuned at a high rate.

    Differs: its rate falls along a cosine, where it is divided by ten four times.
    """

    paper: ClassVar[Paper] = Paper(
        title="BaDExpert: Extracting Backdoor Functionality for Accurate Backdoor Input Detection",
        authors="Xie, Qi, He, Li, Wang, Mittal",
        venue="ICLR",
        year=2024,
        url="https://arxiv.org/abs/2308.12439",
    )

    false_positive_rate: float = Field(
        0.01, gt=0, lt=1, description="share of clean inputs that may be rejected"
    )
    expert_lr: float = Field(1e-4, gt=0, description="learning rate of Adam for the expert")
    expert_epochs: int = Field(1, ge=1, description="passes over wrong labels, at most")
    expert_batch_size: int = Field(128, ge=2, description="samples per step of the expert")
    forgotten: float = Field(
        0.2, ge=0, le=1, description="accuracy on clean images below which the expert is done"
    )
    epochs: int = Field(10, ge=1, description="passes of the fine-tuning")
    batch_size: int = Field(64, ge=2, description="samples per step of the fine-tuning")
    lr: float = Field(0.1, gt=0, description="its learning rate at the start")

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        """How far an input's answer lies to the expert's side."""
        suspect, expert, tuned = view.model, self.expert(view, known), self.tuned(view, known)

        def score(batch: Tensor) -> Tensor:
            answers = suspect(batch).argmax(1)[:, None]
            ours, theirs = (
                model(batch).float().softmax(1).gather(1, answers)[:, 0]
                for model in (tuned, expert)
            )
            return triangle(ours, theirs)

        return lambda images: inference.in_batches(score, images, view.device)

    def expert(self, view: DefenderView, known: ImageSet) -> Classifier:
        """The suspect after a look at clean images as of the next class, until it knows few."""
        model = models.duplicate(view.model)
        wrong = replace(known, labels=(known.labels + 1) % view.data.num_classes)

        def forgot(_epoch: int, trained: nn.Module) -> bool:
            return inference.accuracy(trained, known.images, known.labels) < self.forgotten

        recipe = Recipe(
            epochs=self.expert_epochs,
            batch_size=self.expert_batch_size,
            optimizer="adam",
            lr=self.expert_lr,
            weight_decay=0,
            schedule="constant",
        )
        view.fit(model, wrong, recipe, what="expert", epoch_end=forgot)
        return model

    def tuned(self, view: DefenderView, known: ImageSet) -> Classifier:
        """The suspect, fine-tuned."""
        model = models.duplicate(view.model)
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)
        view.fit(model, known, recipe, what="tune")
        return model


def triangle(ours: Tensor, theirs: Tensor) -> Tensor:
    """Higher where the tuned model doubts an answer of which the expert is sure: N.

    Args:
        ours: what the tuned model gives the answer, N.
        theirs: what the expert gives it, N.
    """
    tiny = 1e-8
    return -torch.minimum(
        2 * ours / theirs.clamp_min(tiny), (1 - theirs) / (0.5 - ours).clamp_min(tiny)
    )
