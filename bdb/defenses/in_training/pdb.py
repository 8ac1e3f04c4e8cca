"""PDB: a backdoor of the defender's own, which every input carries, outshouts the attacker's."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.datasets import transforms
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, InTraining, Outcome
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.wrappers import stamp
from bdb.registry import register
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("pdb")
class ProactiveDefensiveBackdoor(InTraining):
    """Train on stamped clean images as well, as of the next class; stamp inputs, and undo that.

    The stamp is outside of what pixels can be, so no attacker has it. Stamp and classes are part of
    the model: without them it is as good as undefended.

    Differs: the clean images are the defender's own; in the paper, a tenth of the training set that
    happens to be known clean.
    """

    paper: ClassVar[Paper] = Paper(
        title="Mitigating Backdoor Attack by Injecting Proactive Defensive Backdoor",
        authors="Wei, Zha, Wu",
        venue="NeurIPS",
        year=2024,
        url="https://arxiv.org/abs/2405.16112",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"train_set", "clean_set"})

    side: int = Field(7, ge=1, description="of the stamp in the top left corner, in pixels")
    value: float = Field(2.0, description="of its pixels, where those of images are in [0, 1]")
    copies: int = Field(5, ge=1, description="how often each clean image is in the training set")
    darkening: float = Field(0.5, ge=0, le=1, description="most that clean images lose brightness")
    darkening_share: float = Field(0.2, ge=0, le=1, description="share of them that does")
    rotation: float = Field(10.0, ge=0, le=180, description="most degrees that they are turned by")
    rotation_share: float = Field(0.5, ge=0, le=1, description="share of them that is turned")
    epochs: int = Field(100, ge=1, description="passes over all images")
    batch_size: int = Field(256, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate, annealed along a cosine")

    def run(self, view: DefenderView) -> Outcome:
        """Train a model of our own, and wrap it in stamp and classes.

        Raises:
            ParamsError: the stamp leaves nothing of an image.
        """
        model = view.build_model("pdb")
        trigger = {"side": self.side, "value": self.value, "shift": 1}
        defended = models.wrap(model, "stamped", **trigger)
        own = len(view.train_set)  # Ids from here on are of clean images.

        def step(net: nn.Module, batch: Batch) -> Tensor:
            mine = (batch.ids >= own)[:, None, None, None]
            stamped = stamp(self.roughened(batch), self.side, self.value)
            return cross_entropy(net(torch.where(mine, stamped, batch.images)), batch.labels)

        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)
        view.fit(model, self.joined(view), recipe, step=step)
        return Outcome(model=defended.eval())

    def joined(self, view: DefenderView) -> ImageSet:
        """The training set, then copies of the clean images, as of the next class."""
        given, clean = view.train_set, view.clean_set
        images = clean.images.to(given.images.device).repeat(self.copies, 1, 1, 1)
        labels = clean.labels.to(given.labels.device).repeat(self.copies)
        labels = (labels + 1) % view.data.num_classes
        return ImageSet.whole(torch.cat([given.images, images]), torch.cat([given.labels, labels]))

    def roughened(self, batch: Batch) -> Tensor:
        """A batch's images, some of them turned or darker."""
        turn = Augmentation(rotation=self.rotation, rotation_share=self.rotation_share)
        turned = turn(batch.images, batch.generator)
        darker = self.darkening * batch.rand(len(batch))
        chosen = batch.rand(len(batch)) < self.darkening_share
        return transforms.brighten(turned, 1 - darker * chosen)
