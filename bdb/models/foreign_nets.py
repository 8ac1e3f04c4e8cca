"""Networks of torchvision and timm as classifiers; nothing is downloaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError, SuspectError
from bdb.models.classifier import Architecture, Classifier, ModelSpec
from bdb.registry import register
from bdb.torchvision_ops import load as torchvision

TIMM = "timm/"  # what the names of timm's architectures begin with
State = dict[str, Tensor]


class Foreign(Classifier):
    """A network of torchvision or timm as it is, with its last linear layer as `head`."""

    attention_layers: tuple[str, ...] = ()  # type: ignore[misc]

    def __init__(self, data: DataSpec, make: Callable[[], nn.Module], state: State | None) -> None:
        """Build it, with weights if there are any."""
        super().__init__(data)
        self.make = make
        net = make()
        if state is not None:
            net.load_state_dict(state)
        linear = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)]
        if not linear:
            raise SuspectError("no image classifier with a linear last layer")
        name, self.head = linear[-1]
        net.set_submodule(name, nn.Identity())
        for module in net.modules():
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010
        self.net = net

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> N x D."""
        features: Tensor = self.net(normalized)
        return features


@register("foreign")
class ForeignNetwork(Architecture):
    """Any classifier of torchvision or timm, unchanged: `bdb import` says which."""

    lacks_field: ClassVar[str] = "lacks"

    network: str = Field("resnet18", description="torchvision's name, or timm/ and timm's")
    stages: tuple[str, ...] = Field(
        ("layer1", "layer2", "layer3", "layer4"),
        description="modules whose maps stand for its stages, first to last",
    )
    lacks: tuple[Literal["batch_norm", "maps"], ...] = Field(
        (), description="what methods may require of it in vain"
    )

    def build(self, data: DataSpec) -> Foreign:
        """Make the network.

        Raises:
            ParamsError: nobody knows its name, or it has no such stages or no linear last layer.
        """
        layers = () if "maps" in self.lacks else tuple(f"net.{name}" for name in self.stages)
        try:
            model = Foreign(data, lambda: network(self.network, data), None)
            for layer in layers:
                model.get_submodule(layer)
        except (SuspectError, AttributeError, RuntimeError, ValueError) as error:
            raise ParamsError(f"foreign.network: {self.network}: {error}") from error
        model.attention_layers = layers
        return model


def build(arch: str, data: DataSpec, state: State) -> Classifier:
    """An architecture of theirs with these weights.

    Raises:
        RuntimeError: the weights do not fit.
    """
    with torch.random.fork_rng():
        model = Foreign(data, lambda: network(arch, data), state)
    model.spec = ModelSpec(architecture=arch, data=data)
    return model


def network(arch: str, data: DataSpec) -> nn.Module:
    """A network of torchvision's, or of timm's, which downloads nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how weights will be drawn some day
        if arch.startswith(TIMM):
            options = {"num_classes": data.num_classes, "in_chans": data.shape[0]}
            name = arch.removeprefix(TIMM).split(".")[0]
            return cast(nn.Module, timm_library().create_model(name, pretrained=False, **options))
        library = torchvision().models
        return cast(nn.Module, library.get_model(arch, weights=None, num_classes=data.num_classes))


def of_torchvision() -> list[str]:
    """The names of torchvision's architectures."""
    return list(torchvision().models.list_models(torchvision().models))


def timm_library() -> ModuleType:
    """The library, if it is installed.

    Raises:
        SuspectError: it is not.
    """
    torchvision()  # timm imports it, which without its operators fails
    try:
        import timm
    except ImportError:
        raise SuspectError("timm's architectures need timm: pip install 'bdb[timm]'") from None
    return timm
