"""D-BR: what features say of a transformed image tells poison apart, which is then unlearned."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.defenses.sensitivity import Sensitivity
from bdb.method import Paper
from bdb.registry import register
from bdb.training.loop import Batch


@register("d_br")
class BackdoorRemoval(Sensitivity, PostTraining):
    """Unlearn samples whose features a transformation changes most; relearn those it changes least.

    Both shares are taken of any training set, so a clean model forgets as well: on digits a tenth
    of its accuracy. Nothing bounds what is unlearned: at a higher rate accuracy collapses, as it
    does in the published figures. On digits a patch is found and unlearned on every seed, and
    `blended` and `wanet`, all over the image, are left on most.

    Differs: BackdoorBench's affine transformation is here a move by whole pixels.
    """

    paper: ClassVar[Paper] = Paper(
        title="Effective Backdoor Defense by Exploiting Sensitivity of Poisoned Samples",
        authors="Chen, Wu, Wang",
        venue="NeurIPS",
        year=2022,
        url="https://openreview.net/forum?id=AsH-Tx2U0Ug",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    unlearning_epochs: int = Field(20, ge=1, description="passes over each of both in turn")
    unlearning_lr: float = Field(1e-4, gt=0, description="learning rate of these")

    def run(self, view: DefenderView) -> Outcome:
        """Unlearn; a sample's score is how much its features change."""
        data = view.train_set
        scores, clean, flagged = self.sort(view, data)
        parts = [data[mask.to(data.labels.device)] for mask in (flagged, clean)]

        def step(model: nn.Module, batch: Batch) -> Tensor:
            loss = cross_entropy(model(batch.images), batch.labels)
            return -loss if batch.epoch % 2 == 0 else loss

        recipe = self.sorting(2 * self.unlearning_epochs, self.unlearning_lr)
        view.fit(view.model, lambda epoch: parts[epoch % 2], recipe, step=step, what="unlearn")
        return Outcome(model=view.model, scores={"train": scores}, flagged={"train": flagged})
