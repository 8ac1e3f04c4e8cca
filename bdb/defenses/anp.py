"""ANP: prune the neurons that a small adversarial change turns towards the trigger's target."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Defense, Outcome
from bdb.method import Paper
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import inference
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_THRESHOLDS = [step / 20 for step in range(19)]  # 0, 0.05, ..., 0.9, as published


@register("anp")
class AdversarialNeuronPruning(Defense):
    """Learn masks over batch-norm channels under adversarial changes of them; prune the low ones.

    The threshold is fixed, or the highest that held-out clean images allow; the attack's success
    has no part in it.
    """

    paper: ClassVar[Paper] = Paper(
        title="Adversarial Neuron Pruning Purifies Backdoored Deep Models",
        authors="Wu, Wang",
        venue="NeurIPS",
        year=2021,
        url="https://arxiv.org/abs/2110.14430",
    )
    stage: ClassVar = "post-training"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})

    iterations: int = Field(2000, ge=1, description="steps, rounded up to whole epochs")
    batch_size: int = Field(128, ge=2, description="samples per step")
    lr: float = Field(0.2, gt=0, description="learning rate of the masks")
    eps: float = Field(0.4, gt=0, description="bound of the relative change of scales and biases")
    alpha: float = Field(0.2, ge=0, le=1, description="weight of the loss without a change")
    threshold: float | None = Field(
        0.2,
        ge=0,
        le=1,
        description="masks up to here are pruned; null: as high as held-out accuracy allows",
    )
    max_drop: float = Field(
        0.1, gt=0, le=1, description="threshold null: relative loss of held-out accuracy allowed"
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="threshold null: share of the clean set that decides"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Prune; nothing is fine-tuned. A network without batch norms stays as it is."""
        model = view.model
        norms = surgery.batch_norms(model)
        if norms and self.threshold is not None:
            prune(norms.values(), self.learn(view, view.clean_set), self.threshold)
        elif norms:
            kept, held = view.split_clean(self.held_out)
            mask = self.learn(view, kept)
            prune(norms.values(), mask, self.choose(model, mask, held))
        return Outcome(model=model)

    def learn(self, view: DefenderView, data: ImageSet) -> Tensor:
        """One mask per batch-norm channel, in [0, 1], in the order of `surgery.batch_norms`."""
        # Training moves the running statistics, so it has a model of its own.
        masked = _Perturbed(models.duplicate(view.model))
        mask = nn.Parameter(torch.ones_like(masked.scales))

        def step(_model: nn.Module, batch: Batch) -> Tensor:
            with torch.no_grad():
                mask.clamp_(0, 1)
            noise = self.attack(masked, mask.detach(), batch)
            natural = masked.loss(mask, torch.zeros_like(noise), batch)
            return self.alpha * natural + (1 - self.alpha) * masked.loss(mask, noise, batch)

        epochs = math.ceil(self.iterations / max(1, round(len(data) / self.batch_size)))
        recipe = Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=0,
            schedule="constant",
        )
        view.fit(masked.model, data, recipe, step=step, parameters=[mask])
        return mask.detach().clamp(0, 1)

    def attack(self, masked: _Perturbed, mask: Tensor, batch: Batch) -> Tensor:
        """One sign step from a random start towards the worst change: 2 x channels."""
        start = batch.rand(2, len(mask))
        noise = ((2 * start - 1) * self.eps).requires_grad_()
        (gradient,) = torch.autograd.grad(masked.loss(mask, noise, batch), noise)
        return (noise.detach() + self.eps * gradient.sign()).clamp(-self.eps, self.eps)

    def choose(self, model: Classifier, mask: Tensor, held: ImageSet) -> float:
        """The highest threshold before the loss of held-out accuracy reaches `max_drop`.

        Negative, so that nothing is pruned, if the very first one loses too much.
        """
        floor = (1 - self.max_drop) * inference.accuracy(model, held.images, held.labels)
        trial, chosen = models.duplicate(model), -1.0
        norms = surgery.batch_norms(trial).values()
        for threshold in _THRESHOLDS:
            prune(norms, mask, threshold)
            if inference.accuracy(trial, held.images, held.labels) <= floor:
                break
            chosen = threshold
        return chosen


def prune(norms: Iterable[nn.BatchNorm2d], mask: Tensor, threshold: float) -> None:
    """Silence the channels whose mask is at most the threshold; the bias stays, as published."""
    norms = list(norms)
    parts = mask.split([norm.num_features for norm in norms])
    for norm, part in zip(norms, parts, strict=True):
        surgery.prune(norm, part <= threshold, keep_bias=True)


class _Perturbed:
    """A frozen model, run with other batch-norm scales and biases."""

    def __init__(self, model: Classifier) -> None:
        self.model = model.requires_grad_(False)
        norms = surgery.batch_norms(model)
        self.names = list(norms)
        self.sizes = [norm.num_features for norm in norms.values()]
        self.scales = torch.cat([norm.weight for norm in norms.values()])
        self.biases = torch.cat([norm.bias for norm in norms.values()])

    def loss(self, mask: Tensor, noise: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the batch with scales times (mask + noise), biases times (1 + noise)."""
        scales = (self.scales * (mask + noise[0])).split(self.sizes)
        biases = (self.biases * (1 + noise[1])).split(self.sizes)
        changed: dict[str, Tensor] = {}
        for name, scale, bias in zip(self.names, scales, biases, strict=True):
            changed |= {f"{name}.weight": scale, f"{name}.bias": bias}
        return cross_entropy(functional_call(self.model, changed, (batch.images,)), batch.labels)
