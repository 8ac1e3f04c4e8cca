"""What every model is: features, a linear head, and a specification from which it is rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb import registry
from bdb.datasets.base import DataSpec
from bdb.errors import RegistryError, unknown
from bdb.method import Frozen, Method
from bdb.models.hooks import hooked


class WrapperSpec(Frozen):
    """A registered wrapper around a model, its options, and the models that it holds beside it."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    members: tuple[ModelSpec, ...] = ()


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
        has_tail: whether the maps of a stage hold all that the rest of the network takes in, so
            that `tail` can go on from them.
        has_features: whether there is one `features` and one `head`; an ensemble has none, and
            says so in one line when asked.
    """

    spec: ModelSpec
    has_features: ClassVar[bool] = True
    has_tail: ClassVar[bool] = True
    attention_layers: ClassVar[tuple[str, ...]] = ()
    head: nn.Linear

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(data.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(data.std).view(1, -1, 1, 1))

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] -> zero mean, unit variance per channel."""
        return (images - self.get_buffer("mean")) / self.get_buffer("std")

    def calibrate(self, images: Tensor) -> None:
        """Look at training images (uint8, N x C x H x W) once, before the first training step."""

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> penultimate features, N x D."""
        raise NotImplementedError

    def features(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> penultimate features, N x D."""
        return self.extract(self.normalize(images))

    def classify(self, features: Tensor) -> Tensor:
        """What `features` gave, N x D -> logits, N x K."""
        logits: Tensor = self.head(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> logits, N x K."""
        return self.classify(self.features(images))

    def tail(self, layer: str, maps: Tensor) -> Tensor:
        """The rest of the network, from the output of one of the `attention_layers` on.

        One black image goes through the layers before, and its maps are exchanged: so this needs
        no knowledge of the network, and evaluation mode, in which no image leaves a trace.

        Args:
            layer: a name in `attention_layers`.
            maps: float, N x C x H x W; any N. Gradients reach them.

        Returns:
            Logits, N x K.

        Raises:
            ValueError: the layer is no stage, the model is in training mode, or has no tail.
        """
        if layer not in self.attention_layers or self.training or not self.has_tail:
            state = "training" if self.training else "evaluation"
            raise ValueError(
                f"no tail from {layer!r} in {state} mode; it goes from "
                f"{list(self.attention_layers) if self.has_tail else 'no layer'} in evaluation mode"
            )
        exchange = self.get_submodule(layer).register_forward_hook(lambda *_: maps)
        with hooked([exchange]):
            logits: Tensor = self(torch.zeros(1, *self.spec.data.shape, device=maps.device))
        return logits


class Wrapper(Classifier):
    """A change of inference around a classifier, which is a classifier too and reloads like one.

    A sub-class overrides `before` (images), `after` (logits), or `features` with `forward`. What it
    needs for that, modules and buffers of its own included, it builds from plain options; so the
    specification is enough to build it again, and the weights lie in the model's one file.
    """

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

    @property
    def has_tail(self) -> bool:  # type: ignore[override]
        """Whether the inner model has."""
        return self.inner.has_tail

    @property
    def has_features(self) -> bool:  # type: ignore[override]
        """Whether the inner model has."""
        return self.inner.has_features

    def calibrate(self, images: Tensor) -> None:
        """The inner model's."""
        self.inner.calibrate(images)

    def before(self, images: Tensor) -> Tensor:
        """What the inner model is shown instead of these images; floats in [0, 1]."""
        return images

    def after(self, logits: Tensor) -> Tensor:
        """What is answered instead of the inner model's logits, N x K."""
        return logits

    def features(self, images: Tensor) -> Tensor:
        """The inner model's features, of what it is shown."""
        return self.inner.features(self.before(images))

    def classify(self, features: Tensor) -> Tensor:
        """What is answered to features of this model."""
        return self.after(self.inner.classify(features))

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> logits, N x K, by the inner model's own way."""
        return self.after(self.inner(self.before(images)))


class Architecture(Method):
    """A registered family of networks; `build` makes one of them.

    Class variables:
        offers: what defenses and analyses may require of it: `batch_norm` (over maps, with a scale
            and a bias), `maps` (its `attention_layers`), `features` (that lead to its logits).
        weights_field: the field that names the weights it begins with, if it has one.
        lacks_field: the field that says what of all this it does not offer, where it depends.
    """

    kind: ClassVar[str] = "model"
    offers: ClassVar[frozenset[str]] = frozenset({"batch_norm", "features", "maps"})
    weights_field: ClassVar[str | None] = None
    lacks_field: ClassVar[str | None] = None

    def build(self, data: DataSpec) -> Classifier:
        """Make a network with fresh weights, drawn from torch's global generator."""
        raise NotImplementedError

    def pretrain(self, model: Classifier) -> None:
        """Put the weights in place that a network of `build` begins with, if it has any."""


_wrappers: dict[str, type[Wrapper]] = {}
W = TypeVar("W", bound=type[Wrapper])


def wrapper(name: str) -> Callable[[W], W]:
    """Register a wrapper, so that a model that contains it can be rebuilt."""

    def decorate(cls: W) -> W:
        if _wrappers.setdefault(name, cls).__qualname__ != cls.__qualname__:
            raise RegistryError(f"wrapper {name!r} is registered twice; give one another name")
        return cls

    return decorate


def find_wrapper(name: str) -> type[Wrapper]:
    """The wrapper registered as `name`; it may stand in the file of the method that makes it.

    Raises:
        RegistryError: there is none.
    """
    for kind in ("defense", "attack"):
        if name not in _wrappers:
            registry.names(kind)  # imports the methods, which registers their wrappers
    if name not in _wrappers:
        raise RegistryError(unknown("wrapper", name, _wrappers))
    return _wrappers[name]
