"""What every model is: features, a linear head, and a specification from which it is rebuilt."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb import artifacts, registry
from bdb.datasets.base import DataSpec
from bdb.errors import ArtifactError, RegistryError, unknown
from bdb.method import Frozen, Method
from bdb.training import device as devices
from bdb.training import seeds


class WrapperSpec(Frozen):
    """A registered wrapper around a model, and its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ModelSpec(Frozen):
    """All that is needed to build a model again, before its weights are loaded."""

    architecture: str
    fields: dict[str, Any] = Field(default_factory=dict)
    data: DataSpec
    wrappers: tuple[WrapperSpec, ...] = ()


class Classifier(nn.Module):
    """A network with `features` (N x D) and a linear `head`; a sub-class fills in `extract`.

    Attributes:
        spec: from which `build` makes the same network again; set by `build`.
        attention_layers: names of the sub-modules whose N x C x H x W outputs stand for the
            network's stages, first to last; methods that compare or look at maps read them.
    """

    spec: ModelSpec
    attention_layers: ClassVar[tuple[str, ...]] = ()
    head: nn.Linear

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(data.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(data.std).view(1, -1, 1, 1))

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] -> zero mean, unit variance per channel."""
        return (images - self.get_buffer("mean")) / self.get_buffer("std")

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> penultimate features, N x D."""
        raise NotImplementedError

    def features(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> penultimate features, N x D."""
        return self.extract(self.normalize(images))

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> logits, N x K."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Wrapper(Classifier):
    """A change of inference around a classifier, which is a classifier too and reloads like one."""

    def __init__(self, inner: Classifier) -> None:
        nn.Module.__init__(self)
        self.inner = inner

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        """The inner model's head."""
        return self.inner.head

    @property
    def attention_layers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The inner model's stages, under their names in here."""
        return tuple(f"inner.{name}" for name in self.inner.attention_layers)

    def features(self, images: Tensor) -> Tensor:
        """The inner model's features, unless the wrapper changes them."""
        return self.inner.features(images)


class Architecture(Method):
    """A registered family of networks; `build` makes one of them."""

    kind: ClassVar[str] = "model"

    def build(self, data: DataSpec) -> Classifier:
        """Make a network with fresh weights, drawn from torch's global generator."""
        raise NotImplementedError


_wrappers: dict[str, type[Wrapper]] = {}
W = TypeVar("W", bound=type[Wrapper])


def wrapper(name: str) -> Callable[[W], W]:
    """Register a wrapper, so that a model that contains it can be rebuilt."""

    def decorate(cls: W) -> W:
        if _wrappers.setdefault(name, cls).__qualname__ != cls.__qualname__:
            raise RegistryError(f"wrapper {name!r} is registered twice; give one another name")
        return cls

    return decorate


def build(spec: ModelSpec, seed: int) -> Classifier:
    """Build a model with weights drawn from `seed`, on the CPU."""
    architecture = registry.get("model", spec.architecture).make(**spec.fields)
    assert isinstance(architecture, Architecture)
    with seeds.isolated(seed):
        model = architecture.build(spec.data)
    model.spec = spec.model_copy(update={"wrappers": ()})
    for wanted in spec.wrappers:
        model = wrap(model, wanted.name, **wanted.options)
    return model


def wrap(model: Classifier, name: str, **options: Any) -> Classifier:
    """Put a registered wrapper around a model; options are plain JSON values.

    Raises:
        RegistryError: no wrapper has this name.
    """
    import bdb.models.wrappers  # noqa: F401  (registers them)

    if name not in _wrappers:
        raise RegistryError(unknown("wrapper", name, _wrappers))
    wrapped = _wrappers[name](model, **options)
    chain = (*model.spec.wrappers, WrapperSpec(name=name, options=options))
    wrapped.spec = model.spec.model_copy(update={"wrappers": chain})
    return wrapped


def duplicate(model: Classifier) -> Classifier:
    """A copy that shares nothing with its original."""
    twin = copy.deepcopy(model)
    twin.spec = model.spec
    return twin


def save(path: Path, model: Classifier, **metadata: Any) -> None:
    """Write weights and specification as safetensors."""
    artifacts.write_tensors(
        path, model.state_dict(), {"model": model.spec.model_dump(mode="json"), **metadata}
    )


def load(path: Path, device: torch.device | str = "cpu") -> Classifier:
    """Read a model, in evaluation mode.

    Raises:
        ArtifactError: the file is missing, damaged, or does not fit its own specification.
    """
    tensors, metadata = artifacts.read_tensors(path, device)
    try:
        model = build(ModelSpec(**metadata["model"]), seed=0).to(device)
        model.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: not a model of this version ({reason})") from error
    devices.place(model, torch.device(device))
    return model.eval()
