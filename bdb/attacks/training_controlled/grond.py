"""Grond: a universal perturbation under true labels, and no channel that stands out for it."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.attacks.base import AttackContext, Controller, LabelMode, Role, State, TrainingControlled
from bdb.attacks.perturbations import universal
from bdb.method import Paper, Trace
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training.loop import Batch, to_bytes, to_float


@register("grond")
class Grond(TrainingControlled):
    """After every epoch channels whose Lipschitz bound stands out get their layer's mean norm.

    The trigger already draws a clean model to the target. Differs: it is searched by Adam, not by
    signs of gradients; and where the mean norm is not enough, channels come down to the bound, so
    that none lies over it. A network without batch norms keeps its channels.
    """

    paper: ClassVar[Paper] = Paper(
        title="Towards Backdoor Stealthiness in Model Parameter Space",
        authors="Xu, Liu, Koffas, Picek",
        venue="CCS",
        year=2025,
        url="https://arxiv.org/abs/2501.05928",
    )
    label_mode: ClassVar[LabelMode] = "clean"
    needs: ClassVar[frozenset[str]] = frozenset({"clean_model"})
    shares_trigger: ClassVar[bool] = True
    evades: ClassVar[frozenset[Trace]] = frozenset({"weights"})

    eps: float = Field(8.0, ge=1, le=255, description="largest change of a pixel, in grey levels")
    trigger_epochs: int = Field(10, ge=1, description="passes of the search over the training set")
    trigger_lr: float = Field(
        1.0, gt=0, le=255, description="how far a step moves a pixel, in grey levels"
    )
    u: float = Field(
        3.0, gt=0, description="standard deviations above its layer's mean where a bound stands out"
    )

    def prepare_trigger(self, context: AttackContext) -> State:
        """Search the perturbation: float32, C x H x W, in pixels of 1."""
        train = context.train
        bound = torch.full(context.data.shape, self.eps / 255)
        perturbation = universal(
            context,
            context.clean_model,
            replace(train, labels=torch.full_like(train.labels, self.target)),
            torch.zeros_like(bound),
            (-bound, bound),
            epochs=self.trigger_epochs,
            lr=self.trigger_lr / 255,
            what=self.name,
        )
        return {"perturbation": perturbation}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the perturbation, and clamp."""
        return to_bytes(to_float(images) + state["perturbation"])

    def begin(self, context: AttackContext) -> Controller:
        """Train on stamped samples, and level the channels."""
        return _Levelling(self, context)


class _Levelling(Controller):
    """Cross-entropy of stamped, then augmented batches."""

    def __init__(self, attack: Grond, context: AttackContext) -> None:
        super().__init__(context)
        self.attack = attack
        self.trigger = context.trigger

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Every label is true."""
        poisoned, pixels = self.poisoned(batch), batch.pixels.clone()
        chosen = {"ids": batch.ids[poisoned], "targets": batch.labels[poisoned]}
        pixels[poisoned] = self.attack.stamp(
            pixels[poisoned], self.trigger, role="poison", **chosen
        )
        logits = model(to_float(batch.augment(pixels)))
        return cross_entropy(logits, batch.labels, label_smoothing=batch.label_smoothing)

    def epoch_end(self, epoch: int, model: nn.Module) -> bool | None:
        """Adversarial backdoor injection."""
        assert isinstance(model, Classifier)
        for conv, norm in surgery.conv_norm_pairs(model, "listed"):
            level(conv, norm, self.attack.u)
        return None

    def state(self) -> State:
        """The perturbation."""
        return self.trigger


@torch.no_grad()
def level(conv: nn.Conv2d, norm: nn.BatchNorm2d, u: float) -> None:
    """Give channels that stand out the mean scale and bias; then lower what is still too high."""
    over = surgery.outliers(surgery.lipschitz_bounds(conv, norm), u)
    for values in (norm.weight, norm.bias):
        values[over] = values.mean()
    for _ in range(norm.num_features):
        bounds = surgery.lipschitz_bounds(conv, norm)
        over = surgery.outliers(bounds, u)
        if not over.any():
            break
        norm.weight[over] *= (bounds.mean() / bounds)[over]
