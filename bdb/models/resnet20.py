"""ResNet-20, the small network of the residual paper's CIFAR-10 study."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from bdb.datasets.base import DataSpec
from bdb.method import Paper
from bdb.models.base import Architecture, Classifier
from bdb.models.stack import stack
from bdb.registry import register

_BLOCKS_PER_LAYER = 3


class BasicBlock(nn.Module):
    """Conv-BN-ReLU-conv-BN, added to a shortcut without weights: thinned out, filled with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.stride = stride
        self.more = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C' x H' x W'."""
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        thinned = x[:, :, :: self.stride, :: self.stride]
        out: Tensor = self.relu2(inner + pad(thinned, (0, 0, 0, 0, 0, self.more)))
        return out


class CifarResNet(Classifier):
    """A stem and three layers of basic blocks."""

    attention_layers: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3")

    def __init__(self, data: DataSpec, width: int) -> None:
        super().__init__(data)
        self.stem = nn.Sequential(
            nn.Conv2d(data.shape[0], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.layer1 = stack(BasicBlock, _BLOCKS_PER_LAYER, width, width, 1)
        self.layer2 = stack(BasicBlock, _BLOCKS_PER_LAYER, width, 2 * width, 2)
        self.layer3 = stack(BasicBlock, _BLOCKS_PER_LAYER, 2 * width, 4 * width, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, data.num_classes)

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> N x 4 width."""
        maps = self.layer3(self.layer2(self.layer1(self.stem(normalized))))
        pooled: Tensor = self.pool(maps).flatten(1)
        return pooled


@register("resnet20")
class ResNet20(Architecture):
    """ResNet-20 for small images: 270,000 weights, shortcuts without weights (option A)."""

    paper: ClassVar[Paper] = Paper(
        title="Deep Residual Learning for Image Recognition",
        authors="He, Zhang, Ren, Sun",
        venue="CVPR",
        year=2016,
        url="https://arxiv.org/abs/1512.03385",
    )

    width: int = Field(16, ge=1, le=512, description="channels of the stem")

    def build(self, data: DataSpec) -> CifarResNet:
        """Make the network."""
        return CifarResNet(data, self.width)
