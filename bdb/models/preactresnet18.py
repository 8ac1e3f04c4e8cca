"""PreAct-ResNet-18 as the backdoor literature uses it, on small images."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import DataSpec
from bdb.method import Paper
from bdb.models.base import Architecture, Classifier
from bdb.models.stack import stack
from bdb.registry import register

_BLOCKS_PER_LAYER = 2


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice, added to a shortcut that is projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.projects = stride != 1 or inputs != outputs
        projection = [nn.Conv2d(inputs, outputs, 1, stride, bias=False)] if self.projects else []
        self.shortcut = nn.Sequential(*projection)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C' x H' x W'."""
        active = self.relu1(self.bn1(x))
        # A projection starts from the activated input, an identity from the raw one.
        shortcut = self.shortcut(active if self.projects else x)
        out: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active)))) + shortcut
        return out


class PreActResNet(Classifier):
    """A stem without batch norm and four layers; no BN-ReLU follows the last block.

    Sub-modules bear the published names (`conv1`, `layer1.0.bn1`, ...); only `linear` is `head`.
    """

    attention_layers: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3", "layer4")

    def __init__(self, data: DataSpec, width: int) -> None:
        super().__init__(data)
        self.conv1 = nn.Conv2d(data.shape[0], width, 3, 1, 1, bias=False)
        self.layer1 = stack(PreActBlock, _BLOCKS_PER_LAYER, width, width, 1)
        self.layer2 = stack(PreActBlock, _BLOCKS_PER_LAYER, width, 2 * width, 2)
        self.layer3 = stack(PreActBlock, _BLOCKS_PER_LAYER, 2 * width, 4 * width, 2)
        self.layer4 = stack(PreActBlock, _BLOCKS_PER_LAYER, 4 * width, 8 * width, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8 * width, data.num_classes)

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> N x 8 width."""
        maps = self.layer2(self.layer1(self.conv1(normalized)))
        pooled: Tensor = self.avgpool(self.layer4(self.layer3(maps))).flatten(1)
        return pooled


@register("preactresnet18")
class PreActResNet18(Architecture):
    """The published victim: 11 million weights at width 64, 0.7 million at width 16."""

    paper: ClassVar[Paper] = Paper(
        title="Identity Mappings in Deep Residual Networks",
        authors="He, Zhang, Ren, Sun",
        venue="ECCV",
        year=2016,
        url="https://arxiv.org/abs/1603.05027",
    )

    width: int = Field(64, ge=1, le=512, description="channels of the stem")

    def build(self, data: DataSpec) -> PreActResNet:
        """Make the network."""
        return PreActResNet(data, self.width)
