"""D-ST: poison moves more than clean samples where images are transformed; contrast spares it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, InTraining, Outcome
from bdb.defenses.heads import fit_head
from bdb.defenses.sensitivity import Sensitivity
from bdb.method import Paper
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import contrastive, seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("d_st")
class SecureTraining(Sensitivity, InTraining):
    """Sort samples as `d_br` does; learn by contrast, with the labels of the clean ones alone.

    Clean samples are drawn to those of their label, all others to themselves only. The head learns
    from the clean samples, and slightly unlearns the poison. On digits patches do nothing any
    more, while `blended` and `wanet`, whose samples are no more sensitive than others, mostly stay.

    Differs: a view's smallest part, the weight decay and the rates of sorting are SimCLR's and our
    reading. BackdoorBench's affine transformation is here a move by whole pixels.
    """

    paper: ClassVar[Paper] = Paper(
        title="Effective Backdoor Defense by Exploiting Sensitivity of Poisoned Samples",
        authors="Chen, Wu, Wang",
        venue="NeurIPS",
        year=2022,
        url="https://openreview.net/forum?id=AsH-Tx2U0Ug",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"train_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    contrast_epochs: int = Field(200, ge=1, description="passes of contrast")
    contrast_batch_size: int = Field(512, ge=2, description="samples per step of contrast and head")
    contrast_lr: float = Field(0.5, gt=0, description="learning rate of contrast, cosine")
    temperature: float = Field(0.1, gt=0, description="of contrast")
    dimensions: int = Field(128, ge=2, description="of the space in which views are compared")
    least_area: float = Field(
        0.2, gt=0, le=1, description="of a view, as a share of its image; digits need more"
    )
    head_epochs: int = Field(10, ge=1, description="passes of the head")
    head_lr: float = Field(5.0, gt=0, description="learning rate of the head")
    unlearning: float = Field(0.001, ge=0, description="weight of the poison's loss, taken off")

    def run(self, view: DefenderView) -> Outcome:
        """Train a model of our own; a sample's score is how much its features change."""
        data, model = view.train_set, view.build_model("d_st")
        scores, clean, flagged = self.sort(view, data)
        trusted, poison = (data[mask.to(data.labels.device)] for mask in (clean, flagged))
        self.contrast(view, model, contrastive.alone(data, ~clean.to(data.labels.device)))
        recipe = self.recipe(self.head_epochs, self.head_lr, 0.0)
        fit_head(view, model, trusted, recipe, step=self.unlearn, other=poison)
        return Outcome(model=model, scores={"train": scores}, flagged={"train": flagged})

    def contrast(self, view: DefenderView, model: Classifier, data: ImageSet) -> None:
        """Learn features: images of one label come together."""
        augmentation = contrastive.strong(view.augmentation, self.least_area)
        step = contrastive.Contrast(augmentation, self.temperature)
        seed = seeds.derive(view.seed, "projection")
        network = contrastive.Projected(model, self.dimensions, seed)
        recipe = self.recipe(self.contrast_epochs, self.contrast_lr, 1e-4)
        view.fit(network, data, recipe, step=step, what="contrast")

    def recipe(self, epochs: int, lr: float, decay: float) -> Recipe:
        """How features and head are trained."""
        size = self.contrast_batch_size
        return Recipe(epochs=epochs, batch_size=size, lr=lr, weight_decay=decay)

    def unlearn(self, model: nn.Module, batch: Batch) -> Tensor:
        """The head's loss: towards the labels of clean samples, away from those of poison."""
        assert batch.other is not None
        toward = cross_entropy(model(batch.images), batch.labels)
        away = cross_entropy(model(batch.other.images), batch.other.labels)
        return toward - self.unlearning * away
