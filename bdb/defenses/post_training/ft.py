"""Fine-tuning on a few clean images: the baseline of every repair."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.registry import register
from bdb.training.recipes import Recipe


@register("ft")
class FineTuning(PostTraining):
    """Train the suspect model on the clean set."""

    paper: ClassVar[Paper] = Paper(
        title="Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks",
        authors="Liu, Dolan-Gavitt, Garg",
        venue="RAID",
        year=2018,
        url="https://arxiv.org/abs/1805.12185",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})

    epochs: int = Field(100, ge=1, description="passes over the clean set")
    batch_size: int = Field(256, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate, annealed along a cosine")

    def run(self, view: DefenderView) -> Outcome:
        """Fine-tune; the last epoch counts."""
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)
        view.fit(view.model, view.clean_set, recipe)
        return Outcome(model=view.model)
