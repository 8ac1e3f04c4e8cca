"""FT-SAM: fine-tune at the worst weights nearby, where large weights may move the most."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.registry import register
from bdb.training import sharpness
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_TINY = 1e-12


@register("ft_sam")
class SharpnessAwareFineTuning(PostTraining):
    """Fine-tune on the clean set with adaptive sharpness-aware minimisation.

    Each step follows the gradient at the worst weights within a radius that is measured in shares
    of each weight's own size, so that the large weights, on which backdoors rest, shrink.

    Differs: BackdoorBench draws as many clean images of every class; here they are as given.
    """

    paper: ClassVar[Paper] = Paper(
        title="Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware Minimization",
        authors="Zhu, Wei, Shen, Fan, Wu",
        venue="ICCV",
        year=2023,
        url="https://arxiv.org/abs/2304.11823",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})

    epochs: int = Field(100, ge=1, description="passes over the clean set")
    batch_size: int = Field(256, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate, annealed along a cosine")
    rho: float = Field(
        2.0, gt=0, description="radius: length of the change, each in units of its weight"
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share that all classes get")

    def run(self, view: DefenderView) -> Outcome:
        """Fine-tune; the last epoch counts."""
        recipe = Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            label_smoothing=self.label_smoothing,
        )
        view.fit(view.model, view.clean_set, recipe, before_update=self.sharpen)
        return Outcome(model=view.model)

    def sharpen(self, model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        """Put the gradients at the worst weights nearby in the place of those that are there."""
        sharpness.look_ahead(model, batch, optimizer, lambda weights: climb(weights, self.rho))


@torch.no_grad()
def climb(weights: list[nn.Parameter], rho: float) -> None:
    """Move weights to where the loss is worst, to first order.

    Args:
        weights: with their gradients.
        rho: length of the change over all of them together, each divided by its weight.
    """
    slopes = [weight.abs() * weight.grad for weight in weights if weight.grad is not None]
    length = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
    for weight, slope in zip(weights, slopes, strict=True):
        weight.add_(weight.abs() * slope * (rho / length.clamp_min(_TINY)))
