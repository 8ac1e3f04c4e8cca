"""TSBD: reset what moves most when clean images are forgotten, and fine-tune towards flat loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.defenses.unlearning import forget
from bdb.method import Paper
from bdb.models import pruning
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import sharpness
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_TINY = 1e-12


@register("tsbd")
class TwoStageDefense(PostTraining):
    """Set the weights to zero that forgetting clean images changes most; then fine-tune.

    A copy forgets clean images. Of the neurons (channels of convolutions, outputs of hidden linear
    layers) whose weights have moved most in sum, the weights that have moved most are reset in the
    suspect. Fine-tuning takes part of its gradient a little way up the loss, which keeps
    the gradient short: neurons of a backdoor are the more active ones.
    """

    paper: ClassVar[Paper] = Paper(
        title="Unveiling and Mitigating Backdoor Vulnerabilities based on Unlearning Weight "
        "Changes and Backdoor Activeness",
        authors="Lin, Liu, Wei, Li, Xiong",
        venue="NeurIPS",
        year=2024,
        url="https://arxiv.org/abs/2405.20291",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})

    batch_size: int = Field(256, ge=2, description="samples per step")
    unlearning_epochs: int = Field(20, ge=1, description="passes of ascent at most")
    unlearning_lr: float = Field(0.01, gt=0, description="learning rate of the ascent")
    unlearning_floor: float = Field(
        0.1, ge=0, le=1, description="accuracy over a pass at which the ascent ends"
    )
    neurons: float = Field(0.15, gt=0, le=1, description="share of the neurons that are touched")
    weights: float = Field(0.7, gt=0, le=1, description="share of their weights that is reset")
    epochs: int = Field(20, ge=1, description="passes of the fine-tuning")
    lr: float = Field(0.01, gt=0, description="its learning rate, annealed along a cosine")
    radius: float = Field(0.05, gt=0, description="how far up the loss the gradient is taken")
    ahead: float = Field(0.7, ge=0, le=1, description="share of the gradient taken there")

    def run(self, view: DefenderView) -> Outcome:
        """Forget, reset, and fine-tune; the last epoch counts."""
        model, clean = view.model, view.clean_set
        ascent = Recipe(
            epochs=self.unlearning_epochs,
            batch_size=self.batch_size,
            lr=self.unlearning_lr,
            clip_norm=20,
            schedule="constant",
        )
        forgetful = forget(view, clean, ascent, self.unlearning_floor)
        reset(model, changes(model, forgetful), self.neurons, self.weights)
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)
        view.fit(model, clean, recipe, before_update=self.flatten)
        return Outcome(model=model)

    def flatten(self, model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        """Blend the gradients with those up the slope."""
        weights = [weight for weight in model.parameters() if weight.grad is not None]
        own = [weight.grad for weight in weights]
        sharpness.look_ahead(model, batch, optimizer, lambda each: climb(each, self.radius))
        for weight, old in zip(weights, own, strict=True):
            if weight.grad is not None and old is not None:
                weight.grad.lerp_(old, 1 - self.ahead)


@torch.no_grad()
def climb(weights: list[nn.Parameter], radius: float) -> None:
    """Move weights so far along their gradients, over all of them together."""
    slopes = [weight.grad for weight in weights if weight.grad is not None]
    length = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
    for weight, slope in zip(weights, slopes, strict=True):
        weight.add_(slope * (radius / length.clamp_min(_TINY)))


def changes(model: Classifier, other: Classifier) -> dict[str, Tensor]:
    """How far each weight of convolutions and hidden linear layers lies from the other model's."""
    head = model.head.weight if model.has_features else None
    theirs = pruning.layers(other)
    return {
        name: (weight - theirs[name]).detach().abs()
        for name, weight in pruning.layers(model).items()
        if weight is not head
    }


@torch.no_grad()
def reset(model: nn.Module, changed: Mapping[str, Tensor], neurons: float, weights: float) -> None:
    """Zero the most changed share of the weights of the most changed share of the neurons."""
    sums = torch.cat([each.flatten(1).sum(1) for each in changed.values()])
    chosen = pruning.best(sums, neurons).split([len(each) for each in changed.values()])
    moved = [each[rows] for each, rows in zip(changed.values(), chosen, strict=True)]
    worst = pruning.best(torch.cat([each.flatten() for each in moved]), weights)
    parts = worst.split([each.numel() for each in moved])
    named = dict(model.named_parameters())
    for name, rows, part in zip(changed, chosen, parts, strict=True):
        weight = named[name]
        weight[rows] = weight[rows].masked_fill(part.view_as(weight[rows]), 0)
