"""ANP: prune the neurons that a small adversarial change turns towards the trigger's target."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.defenses import masks
from bdb.defenses.base import DefenderView
from bdb.defenses.masks import Masked, MaskPruning
from bdb.method import Paper
from bdb.registry import register
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("anp")
class AdversarialNeuronPruning(MaskPruning):
    """Learn masks over batch-norm channels under adversarial changes of them; prune the low ones.

    The threshold is fixed, or the highest that held-out clean images allow; the attack's success
    has no part in it.

    Differs: BackdoorBench tries 0, 0.05, ..., 0.9 and keeps what stops the attack best, an oracle;
    here every mask is a threshold that may be chosen, on clean images. It also lets the changes
    reach twice `eps` (`clamp: false`).
    """

    paper: ClassVar[Paper] = Paper(
        title="Adversarial Neuron Pruning Purifies Backdoored Deep Models",
        authors="Wu, Wang",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2110.14430",
    )
    iterations: int = Field(2000, ge=1, description="steps, rounded up to whole epochs")
    batch_size: int = Field(128, ge=2, description="samples per step")
    lr: float = Field(0.2, gt=0, description="learning rate of the masks")
    eps: float = Field(0.4, gt=0, description="bound of the relative change of scales and biases")
    clamp: bool = Field(
        True, description="whether changes stay within eps after their step from a random start"
    )
    alpha: float = Field(0.2, ge=0, le=1, description="weight of the loss without a change")

    def learn(self, view: DefenderView, data: ImageSet) -> Tensor:
        """One mask per batch-norm channel, in [0, 1], in the order of `surgery.batch_norms`."""

        def loss(masked: Masked, mask: Tensor, batch: Batch) -> Tensor:
            noise = self.attack(masked, mask.detach(), batch)
            natural = masked.loss(mask, batch)
            return self.alpha * natural + (1 - self.alpha) * masked.loss(mask, batch, noise)

        epochs = math.ceil(self.iterations / max(1, round(len(data) / self.batch_size)))
        recipe = Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=0,
            schedule="constant",
        )
        return masks.learn(view, view.model, data, recipe, loss)

    def attack(self, masked: Masked, mask: Tensor, batch: Batch) -> Tensor:
        """One sign step from a random start towards the worst change: 2 x channels."""
        start = batch.rand(2, len(mask))
        noise = ((2 * start - 1) * self.eps).requires_grad_()
        (gradient,) = torch.autograd.grad(masked.loss(mask, batch, noise), noise)
        noise = noise.detach() + self.eps * gradient.sign()
        return noise.clamp(-self.eps, self.eps) if self.clamp else noise
