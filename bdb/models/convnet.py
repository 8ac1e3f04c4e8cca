"""A small residual network for CPUs."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import DataSpec
from bdb.models.base import Architecture, Classifier
from bdb.registry import register


class Residual(nn.Module):
    """Conv-BN-ReLU-conv-BN, added to a projected shortcut with a batch norm of its own.

    Without that norm no pruning of norms could cut what passes through the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C' x H' x W'."""
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(inner + self.shortcut(x))
        return out


class SmallResNet(Classifier):
    """A stem that halves the size, and three residual blocks of growing width."""

    attention_layers: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(self, data: DataSpec, width: int) -> None:
        super().__init__(data)
        self.stem = nn.Sequential(
            nn.Conv2d(data.shape[0], width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.layer1 = Residual(width, width, 1)
        self.layer2 = Residual(width, 2 * width, 2)
        self.layer3 = Residual(2 * width, 4 * width, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, data.num_classes)

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> N x 4 width."""
        maps = self.layer3(self.layer2(self.layer1(self.stem(normalized))))
        pooled: Tensor = self.pool(maps).flatten(1)
        return pooled


@register("convnet")
class ConvNet(Architecture):
    """A small residual net: seconds on a CPU, 98 % on digits."""

    width: int = Field(16, ge=1, le=512, description="channels of the stem")

    def build(self, data: DataSpec) -> SmallResNet:
        """Make the network."""
        return SmallResNet(data, self.width)
