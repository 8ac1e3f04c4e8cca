"""D-BR: what features say of a transformed image tells poison apart, which is then unlearned."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from bdb.datasets.augmentation import Augmentation
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import graphs, inference
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_BATCH = 1024  # images that are transformed at once


@register("d_br")
class BackdoorRemoval(PostTraining):
    """Unlearn samples whose features a transformation changes most; relearn those it changes least.

    Features are those of a network of our own, trained for a moment, in which a backdoor is there
    already, and then drawn apart by class. Both shares are taken of any training set, so a clean
    model forgets as well: on digits a tenth of its accuracy. Nothing bounds what is unlearned: at a
    higher rate accuracy collapses, as it does in the published figures. On digits a patch is found
    and unlearned on every seed, and `blended` and `wanet`, all over the image, are left on most.

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

    warmup_epochs: int = Field(2, ge=1, description="passes that train the network for features")
    parting_epochs: int = Field(10, ge=1, description="passes that draw its classes apart")
    lr: float = Field(0.01, gt=0, description="learning rate of both")
    rotation: float = Field(180.0, ge=0, le=180, description="most degrees to turn by, either way")
    translation: float = Field(0.2, ge=0, lt=1, description="most to move by, of the longer side")
    clean: float = Field(0.2, gt=0, lt=1, description="share of least change, taken for clean")
    poison: float = Field(0.05, gt=0, lt=1, description="share of most change, taken for poison")
    unlearning_epochs: int = Field(20, ge=1, description="passes over each of both in turn")
    unlearning_lr: float = Field(1e-4, gt=0, description="learning rate of these")
    batch_size: int = Field(128, ge=2, description="samples per step")

    def run(self, view: DefenderView) -> Outcome:
        """Unlearn; a sample's score is how much its features change."""
        data = view.train_set
        scores = self.changes(view, self.parted(view), data.images)
        order = scores.argsort().to(data.labels.device)
        clean, poison = (max(1, round(share * len(data))) for share in (self.clean, self.poison))
        parts = data[order[-poison:].sort().values], data[order[:clean].sort().values]

        def step(model: nn.Module, batch: Batch) -> Tensor:
            loss = cross_entropy(model(batch.images), batch.labels)
            return -loss if batch.epoch % 2 == 0 else loss

        recipe = self.recipe(2 * self.unlearning_epochs, self.unlearning_lr)
        view.fit(view.model, lambda epoch: parts[epoch % 2], recipe, step=step, what="unlearn")
        flagged = torch.zeros(len(data), dtype=torch.bool)
        flagged[order[-poison:].cpu()] = True
        return Outcome(model=view.model, scores={"train": scores}, flagged={"train": flagged})

    def recipe(self, epochs: int, lr: float) -> Recipe:
        """How every stage is trained."""
        return Recipe(epochs=epochs, batch_size=self.batch_size, lr=lr, schedule="constant")

    def parted(self, view: DefenderView) -> Classifier:
        """A network that has seen the training set for a moment, its classes drawn apart."""
        model = view.build_model("features")
        plain = {"augmentation": Augmentation()}
        for what, epochs in (("warm up", self.warmup_epochs), ("part", self.parting_epochs)):
            how = plain if what == "warm up" else plain | {"step": centres_alike}
            view.fit(model, view.train_set, self.recipe(epochs, self.lr), what=what, **how)
        return model

    def changes(self, view: DefenderView, model: Classifier, images: Tensor) -> Tensor:
        """How much a transformation changes each image's features: float32, N, on the CPU."""
        padding = round(self.translation * max(images.shape[2:]))
        transform = Augmentation(rotation=self.rotation, crop_padding=padding)
        draws = view.generator("transform")
        moved = torch.cat([transform(part, draws) for part in images.split(_BATCH)])
        before, after = (inference.features(model, each) for each in (images, moved))
        return (before - after).square().mean(1)


@graphs.recordable
def centres_alike(model: nn.Module, batch: Batch) -> Tensor:
    """How alike the centres of a batch's classes are: their mean cosine, over pairs of classes."""
    assert isinstance(model, Classifier)
    features = model.features(batch.images)
    member = one_hot(batch.labels, model.spec.data.num_classes).to(features.dtype)
    centres = normalize(member.T @ features)
    alike = centres @ centres.T
    present = (member.sum(0) > 0).sum()
    return (alike.sum() - alike.diagonal().sum()) / (present * (present - 1)).clamp_min(1)
