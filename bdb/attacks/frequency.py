"""Triggers in the frequency domain: chosen coefficients of the cosine transform are raised."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from bdb.attacks.base import AttackContext, DataPoisoning, Role, State
from bdb.attacks.extent import Extent
from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError

Frequency = Annotated[int, Field(ge=1)]
Colours = Literal["ycrcb", "yuv"]
# What one more in both colour channels adds to red, green and blue: ITU-R BT.601.
_GAINS = {"ycrcb": (1.402, -0.714 - 0.344, 1.772), "yuv": (1.14, -0.581 - 0.395, 2.032)}


class RaisedFrequencies(DataPoisoning):
    """An attack that adds to coefficients of the two colour channels, in every square window.

    Both transforms are linear, so the trigger is a fixed pattern that is added to the pixels. Where
    there are no colours it is added to every channel as it is.
    """

    extent: ClassVar[Extent] = {"side": {"window": 1}}

    colours: Colours = Field("ycrcb", description="space whose two colour channels are changed")
    magnitude: float = Field(
        30, gt=0, le=2048, description="what is added to a coefficient in poisons, in grey levels"
    )
    magnitude_test: float | None = Field(
        None, gt=0, le=2048, description="the same at test time; magnitude if left out"
    )
    frequencies: tuple[Frequency, ...] = Field(
        (15, 31), min_length=1, description="coefficients k, each at row k and column k"
    )
    window: int = Field(32, ge=2, le=1024, description="side of a transformed square, in pixels")

    def check_size(self, data: DataSpec) -> None:
        """See that the window fits into the images, and the frequencies into the window."""
        super().check_size(data)
        if max(self.frequencies) >= self.window:
            raise ParamsError(
                f"{self.name}.frequencies: {max(self.frequencies)} is none of a window of "
                f"{self.window} pixels; 1 to {self.window - 1}"
            )

    def prepare_trigger(self, context: AttackContext) -> State:
        """Transform back: `pattern`, float32, C x H x W, in grey levels for a magnitude of 1."""
        channels, *size = context.data.shape
        weights = torch.tensor(_GAINS[self.colours]) if channels == 3 else torch.ones(channels)
        waves = _tiled(_cosines(self.frequencies, self.window), *size)
        return {"pattern": weights[:, None, None] * waves}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the pattern."""
        magnitude = (self.magnitude_test or self.magnitude) if role == "test" else self.magnitude
        raised = images.float() + magnitude * state["pattern"]
        return raised.clamp(0, 255).round().to(torch.uint8)


def _cosines(frequencies: tuple[int, ...], side: int) -> Tensor:
    """What a unit in each coefficient of the orthonormal transform adds: side x side."""
    middles = torch.arange(side) + 0.5
    phases = math.pi / side * torch.outer(torch.tensor(frequencies), middles)
    waves = math.sqrt(2 / side) * phases.cos()
    return waves.T @ waves


def _tiled(square: Tensor, height: int, width: int) -> Tensor:
    """As many whole squares as there is room for, from the top left: H x W."""
    rows, columns = height // len(square), width // len(square)
    tiles = square.repeat(rows, columns)
    return pad(tiles, (0, width - tiles.shape[1], 0, height - tiles.shape[0]))
