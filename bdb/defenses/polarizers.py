"""A thin layer inside a frozen network, between two of its stages."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier, wrapper
from bdb.models.wrappers import Plug
from bdb.training import inference


@wrapper("polarizer")
class Polarizer(Plug):
    """A linear map of each place's channels, and a batch norm; both begin as the identity."""

    def __init__(self, inner: Classifier, layer: str, channels: int) -> None:
        super().__init__(inner, layer)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.dirac_(self.mix.weight)

    def change(self, maps: Tensor) -> Tensor:
        """Float, N x C x H x W."""
        return cast(Tensor, self.norm(self.mix(maps)))


def insert(model: Classifier, behind: int) -> Polarizer:
    """Put a polarizer behind a stage, which changes nothing yet.

    Args:
        model: becomes part of the new one.
        behind: which of its `attention_layers`, -1 is the last; the first if it has not so many.
    """
    layer = model.attention_layers[max(behind, -len(model.attention_layers))]
    black = torch.zeros(1, *model.spec.data.shape, dtype=torch.uint8)
    with surgery.recording(model, [layer]) as maps:
        inference.logits(model, black)
    wrapped = models.wrap(model, "polarizer", layer=layer, channels=maps[layer].shape[1])
    return cast(Polarizer, wrapped.to(maps[layer].device))
