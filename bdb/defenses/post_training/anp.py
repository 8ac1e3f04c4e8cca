"""ANP: prune the neurons that a small adversarial change turns towards the trigger's target."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import inference
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_TRIALS = 32  # thresholds tried at a time: the cost of a choice, whatever the number of channels


@register("anp")
class AdversarialNeuronPruning(PostTraining):
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
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    iterations: int = Field(2000, ge=1, description="steps, rounded up to whole epochs")
    batch_size: int = Field(128, ge=2, description="samples per step")
    lr: float = Field(0.2, gt=0, description="learning rate of the masks")
    eps: float = Field(0.4, gt=0, description="bound of the relative change of scales and biases")
    clamp: bool = Field(
        True, description="whether changes stay within eps after their step from a random start"
    )
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
        noise = noise.detach() + self.eps * gradient.sign()
        return noise.clamp(-self.eps, self.eps) if self.clamp else noise

    def choose(self, model: Classifier, mask: Tensor, held: ImageSet) -> float:
        """The highest mask up to which held-out accuracy stays above what `max_drop` allows.

        Every mask is a threshold, so channels go one by one. Some thresholds over the whole range
        are tried, then some between the highest that passed and the next, until none is left
        between: accuracy may well have been too low, and risen again, below the one chosen.

        Returns:
            The threshold; negative, so that nothing is pruned, if none of those tried passes.
        """
        floor = (1 - self.max_drop) * inference.accuracy(model, held.images, held.labels)

        def passes(threshold: float) -> bool:
            trial = models.duplicate(model)
            prune(surgery.batch_norms(trial).values(), mask, threshold)
            return inference.accuracy(trial, held.images, held.labels) > floor

        levels = [-1.0, *mask.unique().tolist()]
        low, high = 0, len(levels)
        while high - low > 1:
            tried = np.linspace(low + 1, high - 1, _TRIALS).round().astype(int).tolist()
            low = max((n for n in dict.fromkeys(tried) if passes(levels[n])), default=low)
            high = min((n for n in tried if n > low), default=high)
        return levels[low]


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
