"""Blind: the poison lies in the loss alone, whose parts are balanced so that both are learned."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.attacks.base import AttackContext, Controller, LossPoisoning, Role, State
from bdb.attacks.extent import Extent
from bdb.method import Paper
from bdb.registry import register
from bdb.training import balancing
from bdb.training.loop import Batch, to_float

_FREE = -1  # pixels that the pattern leaves alone
_PATTERN = (
    (255, 0, 255),
    (_FREE, 255, _FREE),
    (_FREE, _FREE, 0),
    (_FREE, 255, _FREE),
    (255, 0, 255),
)


@register("blind")
class Blind(LossPoisoning):
    """Every batch is also shown with a small pattern, once the victim has learned the clean task.

    Differs: clean and triggered images go through the victim together; apart, as published, they
    have batch statistics that hardly a test image meets, and C-Acc falls. The backdoor begins with
    an epoch, once the clean loss was small over a share of the training; published are 1,000
    batches, which a short training does not have. That loss is without label smoothing. The
    published loss can also hold a term against a defense.
    """

    paper: ClassVar[Paper] = Paper(
        title="Blind Backdoors in Deep Learning Models",
        authors="Bagdasaryan, Shmatikov",
        venue="USENIX Security",
        year=2021,
        url="https://arxiv.org/abs/2005.03823",
    )
    extent: ClassVar[Extent] = {"side": {"top": 1, "scale": 5}, "width": {"right": 1, "scale": 3}}

    top: int = Field(3, ge=0, le=64, description="pixels between the pattern and the upper edge")
    right: int = Field(6, ge=0, le=64, description="pixels between the pattern and the right edge")
    scale: int = Field(1, ge=1, le=64, description="side of each square of the pattern, in pixels")
    balance: Literal["mgda", "fixed"] = Field(
        "mgda",
        description="what weighs the losses: the shortest mean of their gradients, or fields",
    )
    clean_weight: float = Field(1.0, gt=0, description="of the clean loss, if fixed")
    backdoor_weight: float = Field(0.9, gt=0, description="of the triggered images', if fixed")
    patience: float = Field(
        0.025, gt=0, lt=1, description="share of all batches whose clean loss tells when to begin"
    )
    max_loss: float = Field(1.0, gt=0, description="largest mean of them under which it may")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Overwrite the pixels that the pattern does not leave free."""
        pattern = torch.tensor(_PATTERN).to(images.device)
        for side in (0, 1):
            pattern = pattern.repeat_interleave(self.scale, side)
        height, width = pattern.shape
        end = images.shape[3] - self.right
        stamped = images.clone()
        under = stamped[:, :, self.top : self.top + height, end - width : end]
        under.copy_(torch.where(pattern == _FREE, under, pattern.to(torch.uint8)))
        return stamped

    def begin(self, context: AttackContext) -> Controller:
        """Watch the clean loss, and add the other one when it is small."""
        return _Balancing(self, context)


class _Balancing(Controller):
    """The weighed sum of the losses of clean and of triggered images."""

    def __init__(self, attack: Blind, context: AttackContext) -> None:
        super().__init__(context)
        self.attack = attack
        self.wanted = attack.wanted(context)
        batches = context.recipe.epochs * len(context.train) / context.recipe.batch_size
        window = max(1, round(attack.patience * batches))
        self.gate = balancing.Gate(window, attack.max_loss, context.device)
        self.begun = False

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The clean loss alone, or both: in one pass, so that both share their batch statistics."""
        if not self.begun:
            logits = model(batch.images)
            self.gate.remember(logits, batch.labels)
            return cross_entropy(logits, batch.labels, label_smoothing=batch.label_smoothing)
        clean_images, wanted = batch.images, self.wanted[batch.ids]
        stamp = self.attack.stamp
        stamped = stamp(batch.pixels, {}, role="poison", ids=batch.ids, targets=wanted)
        logits = model(torch.cat([clean_images, to_float(batch.augment(stamped))]))
        self.gate.remember(logits[: len(batch)], batch.labels)
        return self._balanced(model, *balancing.losses(logits, batch, wanted))

    def epoch_end(self, epoch: int, model: nn.Module) -> bool | None:
        """Whether the next epoch has the backdoor in it."""
        self.begun = self.gate.is_open()
        return None

    def state(self) -> State:
        """Nothing: the pattern is known."""
        return {}

    def _balanced(self, model: nn.Module, clean: Tensor, backdoor: Tensor) -> Tensor:
        if self.attack.balance == "fixed":
            return self.attack.clean_weight * clean + self.attack.backdoor_weight * backdoor
        return balancing.shortest_mean(model, clean, backdoor)
