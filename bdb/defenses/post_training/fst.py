"""FST: a fresh head is kept away from the suspect one, and the features shift with it."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.registry import register
from bdb.training import loop
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_TINY = 1e-12


@register("fst")
class FeatureShiftTuning(PostTraining):
    """Draw the linear head anew, and fine-tune with a penalty on its likeness to the old one.

    The penalty is the inner product of both heads' weights. After every update the new ones are
    scaled to the length of the old, so that likeness cannot be paid for with length.
    """

    paper: ClassVar[Paper] = Paper(
        title="Towards Stable Backdoor Purification through Feature Shift Tuning",
        authors="Min, Qin, Shen, Cheng",
        venue="NeurIPS",
        year=2023,
        url="https://arxiv.org/abs/2310.01875",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    epochs: int = Field(10, ge=1, description="passes over the clean set")
    batch_size: int = Field(128, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate, annealed along a cosine")
    alpha: float = Field(
        0.2, ge=0, description="weight of the penalty; less where there are many classes"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Fine-tune all weights; the last epoch counts."""
        head = view.model.head
        old = head.weight.detach().clone()
        redraw(head, view.generator("head"))

        def step(model: nn.Module, batch: Batch) -> Tensor:
            return loop.cross_entropy(model, batch) + self.alpha * (head.weight * old).sum()

        @torch.no_grad()
        def project(*_: object) -> None:
            head.weight.mul_(old.norm() / head.weight.norm().clamp_min(_TINY))

        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, weight_decay=0)
        view.fit(view.model, view.clean_set, recipe, step=step, after_update=project)
        return Outcome(model=view.model)


@torch.no_grad()
def redraw(head: nn.Linear, generator: torch.Generator) -> None:
    """Weights and biases between -d and d, one over the square root of the number of features."""
    bound = head.in_features**-0.5
    for parameter in head.parameters():
        draws = torch.rand(parameter.shape, generator=generator)
        parameter.copy_(bound * (2 * draws - 1))
