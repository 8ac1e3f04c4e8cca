"""DBD: features learned without labels, a head, and then only the labels that look credible."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from bdb.defenses.base import DefenderView, Outcome
from bdb.defenses.heads import fit_head
from bdb.defenses.splitting import Parts, Splitting, lowest
from bdb.method import Paper
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import contrastive, seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("dbd")
class Decoupling(Splitting):
    """Learn features by SimCLR, a head on top of them, and all of it by MixMatch.

    Poison lies with the class that it shows, where features know no labels; so its labels have the
    larger loss under the head. The half with the smallest loss keeps its labels, and is chosen anew
    for every pass of MixMatch.

    Differs: the last pass counts, where the published figures are of the best one on test images.
    BackdoorBench's are of a tenth of the self-supervised passes (`pretraining_epochs: 100`), at a
    rate that hardly falls, and of 100 passes of MixMatch; it blurs half of the views.
    """

    paper: ClassVar[Paper] = Paper(
        title="Backdoor Defense via Decoupling the Training Process",
        authors="Huang, Li, Wu, Qin, Ren",
        venue="ICLR",
        year=2022,
        url="https://arxiv.org/abs/2202.03423",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"train_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    pretraining_epochs: int = Field(1000, ge=1, description="passes of SimCLR")
    pretraining_batch_size: int = Field(512, ge=2, description="samples per step of SimCLR")
    pretraining_lr: float = Field(0.4, gt=0, description="learning rate of SimCLR, cosine")
    pretraining_weight_decay: float = Field(1e-4, ge=0, le=1, description="of SimCLR")
    contrast_temperature: float = Field(0.5, gt=0, description="of SimCLR")
    dimensions: int = Field(128, ge=2, description="of the space in which views are compared")
    least_area: float = Field(
        0.2, gt=0, le=1, description="of a view, as a share of its image; digits need more"
    )
    head_epochs: int = Field(10, ge=1, description="passes of the head")
    head_batch_size: int = Field(128, ge=2, description="samples per step of the head")
    epochs: int = Field(190, ge=1, description="passes of MixMatch")
    credible: float = Field(0.5, gt=0, lt=1, description="share that keeps its labels")

    def run(self, view: DefenderView) -> Outcome:
        """Train a model of our own; a sample's score is its loss at the last split."""
        model, data = view.build_model("dbd"), view.train_set
        self.pretrain(view, model)
        recipe = self.recipe(self.head_epochs, self.head_batch_size)
        fit_head(view, model, data, recipe, step=self.robust)
        scores: dict[str, Tensor] = {}

        def split(_epoch: int) -> Parts:
            losses = scores["train"] = self.losses(model, data)
            credible = lowest(losses, self.credible).to(data.labels.device)
            return data[credible], data[~credible]

        self.fine_tune(view, model, self.epochs, split)
        return Outcome(model=model, scores={"train": scores["train"]})

    def pretrain(self, view: DefenderView, model: Classifier) -> None:
        """Learn features without a look at labels, by SimCLR."""
        seed = seeds.derive(view.seed, "projection")
        recipe = Recipe(
            epochs=self.pretraining_epochs,
            batch_size=self.pretraining_batch_size,
            lr=self.pretraining_lr,
            weight_decay=self.pretraining_weight_decay,
        )
        view.fit(
            contrastive.Projected(model, self.dimensions, seed),
            contrastive.alone(view.train_set),
            recipe,
            step=contrastive.Contrast(
                contrastive.strong(view.augmentation, self.least_area), self.contrast_temperature
            ),
            what="simclr",
        )

    def robust(self, model: nn.Module, batch: Batch) -> Tensor:
        """The head's loss, which wrong labels sway less than they sway cross-entropy."""
        return self.symmetric(model(batch.images), batch.labels).mean()
