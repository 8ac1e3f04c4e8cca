"""SIG: a faint sinusoid over images of the target class, whose labels stay true."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.base import DataPoisoning, Role, State
from bdb.attacks.extent import Extent
from bdb.method import Paper
from bdb.registry import register


@register("sig")
class Sig(DataPoisoning):
    """Horizontal waves over images of the target class; no label changes."""

    paper: ClassVar[Paper] = Paper(
        title="A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning",
        authors="Barni, Kallas, Tondi",
        venue="ICIP",
        year=2019,
        url="https://arxiv.org/abs/1902.11237",
    )
    label_mode: ClassVar[Literal["dirty", "clean", "label-only"]] = "clean"
    # A wave of two columns is nought at both; near that little is left of it.
    extent: ClassVar[Extent] = {"width": {"frequency": 2.5}}

    amplitude: float = Field(40, gt=0, le=255, description="of the wave in poisons, in grey levels")
    amplitude_test: float | None = Field(
        None, gt=0, le=255, description="of the wave at test time; amplitude if left out"
    )
    frequency: float = Field(6, gt=0, le=512, description="waves across the width")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the wave."""
        amplitude = (self.amplitude_test or self.amplitude) if role == "test" else self.amplitude
        width = images.shape[3]
        phase = torch.arange(width, device=images.device) * (2 * math.pi * self.frequency / width)
        waved = images.float() + amplitude * phase.sin()
        return waved.clamp(0, 255).round().to(torch.uint8)
