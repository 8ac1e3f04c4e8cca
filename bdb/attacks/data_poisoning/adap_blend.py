"""Adaptive-Blend: a faint picture, half of it hidden in training, among covers."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from bdb.attacks import pictures
from bdb.attacks.base import AttackContext, Covered, Role, State
from bdb.attacks.data_poisoning.blended import Blended
from bdb.method import Paper, Trace
from bdb.registry import register
from bdb.training import seeds


@register("adap_blend")
class AdaptiveBlend(Covered, Blended):
    """Poisons show random halves of a picture, and so do covers; only test images show it whole.

    Differs: no cover is of the target class, as in the paper; the code draws them from all classes.
    The published picture is a cartoon with an owner; ours is drawn by rule, from the seed, in flat
    colours as well: of a smooth one so few and so faint poisons teach next to nothing.
    """

    paper: ClassVar[Paper] = Paper(
        title="Revisiting the Assumption of Latent Separability for Backdoor Defenses",
        authors="Qi, Xie, Li, Mahloujifar, Mittal",
        venue="ICLR",
        year=2023,
        url="https://openreview.net/forum?id=_wSHsgrVali",
    )
    evades: ClassVar[frozenset[Trace]] = frozenset({"features", "inputs"})

    alpha: float = Field(0.15, gt=0, le=1, description="weight of the picture in poisons")
    alpha_test: float | None = Field(
        0.2, gt=0, le=1, description="weight of the picture at test time; alpha if left out"
    )
    pattern: pictures.Pattern = Field(
        "drawing", description="what is blended in: smooth, of flat colours, or white noise"
    )
    tiles: int = Field(4, ge=1, le=64, description="along a side, into which the picture is cut")
    hidden: float = Field(0.5, ge=0, lt=1, description="share of the tiles hidden in training")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Draw the picture.

        Returns:
            `picture`: float32, C x H x W, in [0, 1].
            `seed`: int64, of what is hidden in each image.
        """
        seed = seeds.derive(context.seed, "attack", self.name, "hidden")
        return super().prepare_trigger(context) | {"seed": torch.tensor(seed)}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Mix the tiles in that are not hidden."""
        mixed = super().stamp(images, state, role=role, ids=ids, targets=targets)
        if role == "test":
            return mixed
        draws = seeds.uniform_by_id(ids, self.tiles**2, int(state["seed"]))
        shown = draws.argsort(1).argsort(1) >= round(self.hidden * self.tiles**2)
        grid = shown.float().view(-1, 1, self.tiles, self.tiles)
        return torch.where(interpolate(grid, images.shape[2:]) > 0, mixed, images)
