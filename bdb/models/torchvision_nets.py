"""Architectures of torchvision, each an entry of one table, with fresh or published weights.

Pixels keep their own resolution outside, so that triggers do too: a network either resizes inside
(transformers and ConvNeXt, to 224, as in the published experiments) or, where the images are
small, has the strides and pools of its stem taken away. VGG stays as it is.

Under published weights all that changes is where training begins: the head is fresh, since the
classes are others, and images are normalised by their own statistics, as in the published
experiments, so that both beginnings are compared on the same data.
"""

from __future__ import annotations

import re
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError
from bdb.method import Frozen, Paper
from bdb.models import pretrained
from bdb.models.base import Architecture, Classifier
from bdb.registry import register
from bdb.torchvision_ops import load

_SMALL = 64
_LEAST = 32
_POSITIONS = "encoder.pos_embedding"
# How the published DenseNets call what torchvision now calls `norm1` and the like.
_DOTTED = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=\d\.)")


class Net(Frozen):
    """What is particular to one architecture; modules are given by their torchvision names.

    Attributes:
        about: the method's one line.
        head: the last linear layer.
        stages: outputs that stand for the stages, first to last.
        unstride: convolutions that get stride 1 where images are small.
        unpool: pools that go where images are small.
        tokens: the stages give N x (1 + HW) x C, not N x C x H x W.
        resize: side that images are resized to inside.
        batch_norm: whether its norms are batch norms.
    """

    about: str
    paper: Paper
    head: str
    stages: tuple[str, ...]
    unstride: tuple[str, ...] = ()
    unpool: tuple[str, ...] = ()
    tokens: bool = False
    resize: int | None = None
    batch_norm: bool = True


def _paper(title: str, authors: str, venue: str, year: int, arxiv: str) -> Paper:
    url = f"https://arxiv.org/abs/{arxiv}"
    return Paper(title=title, authors=authors, venue=venue, year=year, url=url)


NETS = {
    "vgg19_bn": Net(
        about="VGG with 19 layers and batch norm: 140 million weights.",
        paper=_paper(
            "Very Deep Convolutional Networks for Large-Scale Image Recognition",
            "Simonyan, Zisserman", "ICLR", 2015, "1409.1556",
        ),
        head="classifier.6",
        stages=("features.12", "features.25", "features.38", "features.51"),
    ),
    "efficientnet_b3": Net(
        about="EfficientNet-B3: 11 million weights.",
        paper=_paper(
            "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
            "Tan, Le", "ICML", 2019, "1905.11946",
        ),
        head="classifier.1",
        stages=("features.2", "features.3", "features.5", "features.8"),
        unstride=("features.0.0",),
    ),
    "mobilenet_v3_large": Net(
        about="MobileNetV3-Large: 4 million weights.",
        paper=_paper(
            "Searching for MobileNetV3",
            "Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam",
            "ICCV", 2019, "1905.02244",
        ),
        head="classifier.3",
        stages=("features.3", "features.6", "features.12", "features.16"),
        unstride=("features.0.0",),
    ),
    "densenet161": Net(
        about="DenseNet-161: 26 million weights.",
        paper=_paper(
            "Densely Connected Convolutional Networks",
            "Huang, Liu, van der Maaten, Weinberger", "CVPR", 2017, "1608.06993",
        ),
        head="classifier",
        stages=tuple(f"features.denseblock{i}" for i in (1, 2, 3, 4)),
        unstride=("features.conv0",),
        unpool=("features.pool0",),
    ),
    "convnext_tiny": Net(
        about="ConvNeXt-Tiny on images resized to 224: 28 million weights.",
        paper=_paper(
            "A ConvNet for the 2020s",
            "Liu, Mao, Wu, Feichtenhofer, Darrell, Xie", "CVPR", 2022, "2201.03545",
        ),
        head="classifier.2",
        stages=("features.1", "features.3", "features.5", "features.7"),
        resize=224,
        batch_norm=False,
    ),
    "vit_b_16": Net(
        about="Vision Transformer B/16 on images resized to 224: 86 million weights.",
        paper=_paper(
            "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
            "Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, Unterthiner, Dehghani, Minderer, "
            "Heigold, Gelly, Uszkoreit, Houlsby", "ICLR", 2021, "2010.11929",
        ),
        head="heads.head",
        # Not the twelfth: behind it only the class token goes on, and maps get no gradient.
        stages=tuple(f"encoder.layers.encoder_layer_{i}" for i in (2, 5, 8, 10)),
        tokens=True,
        resize=224,
        batch_norm=False,
    ),
}  # fmt: skip


class TokenMaps(nn.Module):
    """Patch tokens as maps: N x (1 + S²) x C -> N x C x S x S."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Leave out the class token."""
        patches = tokens[:, 1:]
        side = round(patches.shape[1] ** 0.5)
        return patches.transpose(1, 2).unflatten(2, (side, side))


class Tapped(nn.Module):
    """A transformer block whose patch tokens pass through `maps`, for those who look at maps."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.maps = TokenMaps()

    def forward(self, tokens: Tensor) -> Tensor:
        """What the block gives, with the maps on the way of the gradient."""
        out = self.block(tokens)
        patches = self.maps(out).flatten(2).transpose(1, 2)
        return torch.cat([out[:, :1], patches], 1)


class TorchvisionClassifier(Classifier):
    """A torchvision network without its last layer, which is `head`."""

    def __init__(self, data: DataSpec, name: str) -> None:
        super().__init__(data)
        self.entry = NETS[name]
        net = load().models.get_model(name, weights=None, num_classes=data.num_classes)
        # A head of our own: torchvision's ViT starts from zeros, which let no gradient pass.
        self.head = nn.Linear(net.get_submodule(self.entry.head).in_features, data.num_classes)
        net.set_submodule(self.entry.head, nn.Identity())
        _suit(net, self.entry, small=max(data.shape[1:]) <= _SMALL)
        size = self.entry.resize
        self.resize = nn.Upsample(size=size, mode="bilinear") if size else nn.Identity()
        self.net = net

    @property
    def attention_layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The stages that the table names."""
        tail = ".maps" if self.entry.tokens else ""
        return tuple(f"net.{stage}{tail}" for stage in self.entry.stages)

    @property
    def has_tail(self) -> bool:  # type: ignore[override]
        """Not in a transformer: its class token goes on beside the maps."""
        return not self.entry.tokens

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> N x D."""
        features: Tensor = self.net(self.resize(normalized))
        return features

    def begin_with(self, state: dict[str, Tensor]) -> None:
        """Take over all weights but the head's from a state dict of torchvision's names.

        Raises:
            ValueError: it is of another network.
        """
        given = self._renamed(state)
        wanted = self.net.state_dict()
        # Files of old lack the counters, which no norm of torchvision's reads.
        lacking = [key for key in wanted if key not in given and "num_batches" not in key]
        if lacking:
            raise ValueError(f"it lacks {lacking[0]} and {len(lacking) - 1} more")
        for key, tensor in given.items():
            if key not in wanted or tensor.shape != wanted[key].shape:
                raise ValueError(f"{key} of {'x'.join(map(str, tensor.shape))} has no place in it")
        self.net.load_state_dict(given, strict=False)

    def _renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same under the names of `net`, without the head, with as many positions."""
        given = {_DOTTED.sub(r"\1", key): tensor for key, tensor in state.items()}
        given = {k: t for k, t in given.items() if not k.startswith(f"{self.entry.head}.")}
        if _POSITIONS in given:
            given = _interpolated(given, self.net)
        for stage in self.entry.stages if self.entry.tokens else ():
            tapped = f"{stage}.block."
            given = {key.replace(f"{stage}.", tapped): tensor for key, tensor in given.items()}
        return given


def _interpolated(state: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """A transformer's weights, its positions interpolated to the resolution of `net`."""
    resize = load().models.vision_transformer.interpolate_embeddings
    return dict(resize(net.image_size, net.patch_size, state))


def _suit(net: nn.Module, entry: Net, *, small: bool) -> None:
    """Fit a fresh network to the size of the images, and to hooks that read its layers."""
    for module in net.modules():
        # In place, what a hook has kept of the layer before would change afterwards.
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
    for name in entry.unstride if small else ():
        setattr(net.get_submodule(name), "stride", (1, 1))  # noqa: B010
    for name in entry.unpool if small else ():
        net.set_submodule(name, nn.Identity())
    for name in entry.stages if entry.tokens else ():
        net.set_submodule(name, Tapped(net.get_submodule(name)))


class TorchvisionNet(Architecture):
    """An entry of the table."""

    weights_field: ClassVar[str | None] = "weights"

    weights: str = Field(
        "",
        description="what training begins with: `imagenet`, as torchvision published it, or a path "
        "to a state dict of torchvision's names; drawn from the seed if empty",
    )

    def build(self, data: DataSpec) -> TorchvisionClassifier:
        """Make the network.

        Raises:
            ParamsError: the images are not RGB, or too small.
        """
        channels, *sides = data.shape
        if channels != 3 or min(sides) < _LEAST:
            raise ParamsError(
                f"{self.name} cannot take images of shape {'x'.join(map(str, data.shape))}; "
                f"it needs 3 channels and at least {_LEAST}x{_LEAST} pixels"
            )
        return TorchvisionClassifier(data, self.name)

    def pretrain(self, model: Classifier) -> None:
        """Load the weights that the field names.

        Raises:
            ParamsError: they are not there, cannot be read, or are of another network.
        """
        assert isinstance(model, TorchvisionClassifier)
        if not self.weights:
            return
        state = pretrained.read(self.name, self.weights)
        try:
            model.begin_with(state)
        except ValueError as error:
            raise ParamsError(
                f"models.{self.name}.weights: {self.weights} is of another network: {error}"
            ) from error


def _register(name: str, entry: Net) -> None:
    members = {
        "__doc__": entry.about,
        "__module__": __name__,
        "__qualname__": f"NETS[{name}]",
        "__annotations__": {"paper": ClassVar[Paper], "offers": ClassVar[frozenset[str]]},
        "paper": entry.paper,
        "offers": frozenset({"features", "maps"} | ({"batch_norm"} if entry.batch_norm else set())),
    }
    register(name)(type(name, (TorchvisionNet,), members))


for _name, _entry in NETS.items():
    _register(_name, _entry)
