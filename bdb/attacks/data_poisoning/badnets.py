"""BadNets: a small patch in a corner."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from bdb.attacks.base import DataPoisoning, Role, State
from bdb.attacks.extent import Extent
from bdb.method import Paper
from bdb.registry import register


@register("badnets")
class BadNets(DataPoisoning):
    """A white square in the bottom right corner, under the target's label."""

    paper: ClassVar[Paper] = Paper(
        title="BadNets: Evaluating Backdooring Attacks on Deep Neural Networks",
        authors="Gu, Liu, Dolan-Gavitt, Garg",
        venue="IEEE Access",
        year=2019,
        url="https://doi.org/10.1109/ACCESS.2019.2909068",
    )
    extent: ClassVar[Extent] = {"side": {"patch_size": 1, "margin": 1}}

    patch_size: int = Field(3, ge=1, le=64, description="side of the square in pixels")
    margin: int = Field(0, ge=0, le=64, description="pixels between the square and the corner")
    pattern: Literal["white", "checker"] = Field("white", description="what the square shows")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Overwrite the square."""
        stamped = images.clone()
        bottom, right = (side - self.margin for side in images.shape[2:])
        square = stamped[:, :, bottom - self.patch_size : bottom, right - self.patch_size : right]
        square[:] = 255
        if self.pattern == "checker":
            square[:, :, ::2, 1::2] = 0
            square[:, :, 1::2, ::2] = 0
        return stamped
