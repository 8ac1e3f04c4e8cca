"""Blended: a faint picture over the whole image."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks import pictures
from bdb.attacks.base import AttackContext, DataPoisoning, Role, State
from bdb.method import Paper
from bdb.registry import register


@register("blended")
class Blended(DataPoisoning):
    """A faint fixed picture over the whole image, under the target's label.

    Differs: the published picture is a cartoon with an owner; ours is drawn by rule, from the seed.
    """

    paper: ClassVar[Paper] = Paper(
        title="Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning",
        authors="Chen, Liu, Li, Lu, Song",
        venue="arXiv",
        year=2017,
        url="https://arxiv.org/abs/1712.05526",
    )

    alpha: float = Field(0.2, gt=0, le=1, description="weight of the picture in poisons")
    alpha_test: float | None = Field(
        None, gt=0, le=1, description="weight of the picture at test time; alpha if left out"
    )

    pattern: pictures.Pattern = Field(
        "picture", description="what is blended in: smooth, of flat colours, or white noise"
    )

    def prepare_trigger(self, context: AttackContext) -> State:
        """Draw the picture: float32, C x H x W, in [0, 1]."""
        generator = context.generator(self.name, "picture")
        return {"picture": pictures.draw(self.pattern, context.data.shape, generator)}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Mix the picture in."""
        alpha = (self.alpha_test or self.alpha) if role == "test" else self.alpha
        mixed = (1 - alpha) * images.float() + alpha * 255 * state["picture"]
        return mixed.clamp(0, 255).round().to(torch.uint8)
