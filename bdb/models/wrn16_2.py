"""Wide ResNet 16-2, which studies of attention and distillation use on CIFAR-10."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import DataSpec
from bdb.method import Paper
from bdb.models.base import Architecture, Classifier
from bdb.models.preactresnet18 import PreActBlock
from bdb.models.stack import stack
from bdb.registry import register

_STEM = 16
_BLOCKS_PER_LAYER = 2


class WideResNet(Classifier):
    """A stem of 16 channels, three layers of pre-activation blocks, and a last BN-ReLU."""

    attention_layers: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(self, data: DataSpec, widen: int) -> None:
        super().__init__(data)
        widths = [_STEM * widen * factor for factor in (1, 2, 4)]
        self.conv1 = nn.Conv2d(data.shape[0], _STEM, 3, 1, 1, bias=False)
        self.layer1 = stack(PreActBlock, _BLOCKS_PER_LAYER, _STEM, widths[0], 1)
        self.layer2 = stack(PreActBlock, _BLOCKS_PER_LAYER, widths[0], widths[1], 2)
        self.layer3 = stack(PreActBlock, _BLOCKS_PER_LAYER, widths[1], widths[2], 2)
        self.bn = nn.BatchNorm2d(widths[2])
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[2], data.num_classes)

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> N x 64 widen."""
        maps = self.layer3(self.layer2(self.layer1(self.conv1(normalized))))
        pooled: Tensor = self.pool(self.relu(self.bn(maps))).flatten(1)
        return pooled


@register("wrn16_2")
class Wrn16x2(Architecture):
    """Wide ResNet with 16 layers, twice as wide: 690,000 weights."""

    paper: ClassVar[Paper] = Paper(
        title="Wide Residual Networks",
        authors="Zagoruyko, Komodakis",
        venue="BMVC",
        year=2016,
        url="https://arxiv.org/abs/1605.07146",
    )

    widen: int = Field(2, ge=1, le=32, description="times 16, 32, 64 channels")

    def build(self, data: DataSpec) -> WideResNet:
        """Make the network."""
        return WideResNet(data, self.widen)
