"""RNP: let a copy forget clean images, and prune the channels that do not help to recover them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.defenses import masks
from bdb.defenses.base import DefenderView
from bdb.defenses.masks import Masked, MaskPruning
from bdb.defenses.unlearning import forget
from bdb.method import Paper
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("rnp")
class ReconstructiveNeuronPruning(MaskPruning):
    """Unlearn clean images, recover them with masks over batch-norm channels; prune the low ones.

    What is pruned is the suspect itself; the unlearned copy only tells which of its channels.
    The threshold is fixed, or the highest that held-out clean images allow.

    On digits it removes patches and most warps; what covers the image (`blended`, `sig`, `lf`)
    stays at every threshold that keeps clean accuracy. The published threshold takes most of that
    accuracy there: how low masks fall hangs on the network.

    Differs: the rate of the unlearning is constant, where the reference divides it by ten after ten
    passes. As in the reference, a filter's mask scales its batch norm and leaves the bias.
    """

    paper: ClassVar[Paper] = Paper(
        title="Reconstructive Neuron Pruning for Backdoor Defense",
        authors="Li, Lyu, Ma, Koren, Lyu, Li, Jiang",
        venue="ICML",
        year=2023,
        url="https://arxiv.org/abs/2305.14876",
    )

    batch_size: int = Field(128, ge=2, description="samples per step")
    unlearning_epochs: int = Field(20, ge=1, description="passes of ascent at most")
    unlearning_lr: float = Field(0.01, gt=0, description="learning rate of the ascent")
    unlearning_floor: float = Field(
        0.2, ge=0, le=1, description="accuracy over a pass at which the ascent ends"
    )
    recovering_epochs: int = Field(20, ge=1, description="passes of the masks")
    recovering_lr: float = Field(0.2, gt=0, description="learning rate of the masks")
    alpha: float = Field(0.2, gt=0, description="weight of the masks' loss")
    threshold: float | None = Field(
        0.7,
        ge=0,
        le=1,
        description="masks up to here are pruned; null: as high as held-out accuracy allows",
    )

    def learn(self, view: DefenderView, data: ImageSet) -> Tensor:
        """One mask per batch-norm channel, in [0, 1], in the order of `surgery.batch_norms`."""
        recipe = Recipe(
            epochs=self.recovering_epochs,
            batch_size=self.batch_size,
            lr=self.recovering_lr,
            weight_decay=0,
            schedule="constant",
        )

        def loss(masked: Masked, mask: Tensor, batch: Batch) -> Tensor:
            return self.alpha * masked.loss(mask, batch)

        return masks.learn(view, self.unlearn(view, data), data, recipe, loss)

    def unlearn(self, view: DefenderView, data: ImageSet) -> Classifier:
        """A copy that has climbed the loss of the images until it gets few of them right."""
        recipe = Recipe(
            epochs=self.unlearning_epochs,
            batch_size=self.batch_size,
            lr=self.unlearning_lr,
            clip_norm=20,
            schedule="constant",
        )
        return forget(view, data, recipe, self.unlearning_floor)
