"""What defenses share that tell poison by how much a transformation changes its features."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Defense
from bdb.models.base import Classifier
from bdb.training import graphs, inference
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


class Sensitivity(Defense):
    """Takes the least sensitive share of the training set for clean, and the most for poison.

    Features are those of a network of our own, trained for a moment, in which a backdoor is there
    already, and then drawn apart by class.
    """

    warmup_epochs: int = Field(2, ge=1, description="passes that train the network for features")
    parting_epochs: int = Field(10, ge=1, description="passes that draw its classes apart")
    lr: float = Field(0.01, gt=0, description="learning rate of both")
    rotation: float = Field(180.0, ge=0, le=180, description="most degrees to turn by, either way")
    translation: float = Field(0.2, ge=0, lt=1, description="most to move by, of the longer side")
    clean: float = Field(0.2, gt=0, lt=1, description="share of least change, taken for clean")
    poison: float = Field(0.05, gt=0, lt=1, description="share of most change, taken for poison")
    batch_size: int = Field(128, ge=2, description="samples per step of both, and of unlearning")

    def sort(self, view: DefenderView, data: ImageSet) -> tuple[Tensor, Tensor, Tensor]:
        """How much each sample changes, which are taken for clean, and which for poison.

        On the CPU: float32, N, and twice bool, N; one sample of each kind at least.
        """
        scores = self.changes(view, self.parted(view, data), data.images)
        order = scores.argsort(stable=True)
        clean, poison = (torch.zeros(len(data), dtype=torch.bool) for _ in range(2))
        clean[order[: max(1, round(self.clean * len(data)))]] = True
        poison[order[-max(1, round(self.poison * len(data))) :]] = True
        return scores, clean, poison

    def parted(self, view: DefenderView, data: ImageSet) -> Classifier:
        """A network that has seen the training set for a moment, its classes drawn apart."""
        model = view.build_model("features")
        plain = {"augmentation": Augmentation()}
        for what, epochs in (("warm up", self.warmup_epochs), ("part", self.parting_epochs)):
            how = plain if what == "warm up" else plain | {"step": centres_alike}
            view.fit(model, data, self.sorting(epochs, self.lr), what=what, **how)
        return model

    def changes(self, view: DefenderView, model: Classifier, images: Tensor) -> Tensor:
        """How much a transformation changes each image's features: float32, N, on the CPU."""
        padding = round(self.translation * max(images.shape[2:]))
        transform = Augmentation(rotation=self.rotation, crop_padding=padding)
        draws = view.generator("transform")
        parts = images.split(inference.BATCH)
        moved = torch.cat([transform(part, draws) for part in parts])
        before, after = (inference.features(model, each) for each in (images, moved))
        return (before - after).square().mean(1)

    def sorting(self, epochs: int, lr: float) -> Recipe:
        """How the network for features is trained."""
        return Recipe(epochs=epochs, batch_size=self.batch_size, lr=lr, schedule="constant")


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
