"""A network that makes images of images, for triggers and whoever searches them."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class UNet(nn.Module):
    """Three levels, joined by skips: N x inputs x H x W -> N x outputs x H x W, of any size.

    The outputs are float32 without bounds.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        levels = (inputs, width, 2 * width, 4 * width)
        self.down = nn.ModuleList(convs(i, o) for i, o in pairwise(levels))
        self.up = nn.ModuleList(convs(o + i, i) for i, o in reversed(list(pairwise(levels[1:]))))
        self.halve = nn.MaxPool2d(2, ceil_mode=True)  # A side of one pixel stays.
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Floats, N x C x H x W."""
        maps = [self.down[0](images)]
        for block in self.down[1:]:
            maps.append(block(self.halve(maps[-1])))
        x = maps.pop()
        for block in self.up:
            skip = maps.pop()
            x = block(torch.cat([interpolate(x, skip.shape[2:]), skip], 1))
        made: Tensor = self.head(x).float()
        return made


def convs(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Twice conv-BN-ReLU, the first with this stride."""
    return nn.Sequential(
        *_normed(inputs, outputs, stride),
        *_normed(outputs, outputs, 1),
    )


def _normed(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()
