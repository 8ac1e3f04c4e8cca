"""Registered changes of inference that defended and edited models contain."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from bdb.errors import ParamsError, unknown
from bdb.models.classifier import Classifier, Wrapper, wrapper

Vote = Literal["mean", "majority"]
_DEPTH = 16  # hidden layers of a patch reader


@wrapper("feature_mask")
class FeatureMask(Wrapper):
    """Sets pruned penultimate features to zero, and keeps them there while fine-tuning.

    Raises:
        ParamsError: the inner model has no single `features`.
    """

    mask: Tensor

    def __init__(self, inner: Classifier) -> None:
        super().__init__(inner)
        self.register_buffer("mask", torch.ones(inner.head.in_features))

    def features(self, images: Tensor) -> Tensor:
        """The inner features where the mask is one."""
        return self.inner.features(images) * self.mask

    def forward(self, images: Tensor) -> Tensor:
        """What the inner model makes of the features that are left."""
        return self.classify(self.features(images))


def stamp(images: Tensor, side: int, value: float) -> Tensor:
    """Put a square in the top left corner: floats, N x C x H x W."""
    stamped = images.clone()
    stamped[:, :, :side, :side] = value
    return stamped


@wrapper("stamped")
class Stamped(Wrapper):
    """Puts the defender's own trigger on every image, and undoes what it does to the labels.

    Args:
        inner: was trained to know the trigger.
        side: of the square in the top left corner, in pixels.
        value: of its pixels, where those of images are in [0, 1].
        shift: under the trigger, class k was trained as k + shift, modulo the number of classes.

    Raises:
        ParamsError: the square leaves nothing of the image.
    """

    def __init__(self, inner: Classifier, side: int, value: float, shift: int = 0) -> None:
        super().__init__(inner)
        height, width = inner.spec.data.shape[1:]
        if side >= min(height, width):
            raise ParamsError(f"side: {side} pixels hide an image of {height}x{width}; lower it")
        self.side, self.value, self.shift = side, value, shift

    def before(self, images: Tensor) -> Tensor:
        """The stamped images."""
        return stamp(images, self.side, self.value)

    def after(self, logits: Tensor) -> Tensor:
        """Those of class k + shift are those of class k."""
        return logits.roll(-self.shift, 1)


class Joint(Wrapper):
    """Networks that answer together: no single head or features, and no rest of the network.

    Whoever asks for these gets one line, which begins with the `label`.
    """

    label: ClassVar[str]
    has_features: ClassVar[bool] = False
    has_tail: ClassVar[bool] = False

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        """There is none."""
        raise self._refusal("head")

    def features(self, images: Tensor) -> Tensor:
        """There are none."""
        raise self._refusal("features")

    def classify(self, features: Tensor) -> Tensor:
        """There are no features."""
        raise self._refusal("classify")

    def members(self) -> int:
        """How many networks there are."""
        raise NotImplementedError

    def _refusal(self, what: str) -> ParamsError:
        count = self.members()
        return ParamsError(f"{self.label}: no single {what} of {count} members; ask for logits")


@wrapper("ensemble")
class Ensemble(Joint):
    """Several models that answer together; the logits are the logarithm of what they agree on.

    Args:
        inner: the first member.
        members: the others, of the same image shape and classes; their architectures may differ.
        vote: `mean` averages the probabilities; `majority` counts each member's best class (its
            softmax is the share of votes; of equal shares the lower class wins), without gradient.

    Raises:
        ParamsError: the members do not agree on shape or classes, or there is no such vote. Asked
            for `head`, `features` or `classify`, of which an ensemble has no single one: likewise.
    """

    label: ClassVar[str] = "ensemble"
    attention_layers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, inner: Classifier, *members: Classifier, vote: Vote = "mean") -> None:
        super().__init__(inner)
        kinds = {(m.spec.data.shape, m.spec.data.classes) for m in (inner, *members)}
        if len(kinds) > 1:
            raise ParamsError("ensemble: members differ in image shape or classes; give one task")
        if vote not in ("mean", "majority"):
            raise ParamsError(unknown("vote", vote, ("mean", "majority")))
        self.others = nn.ModuleList(members)
        self.vote = vote

    def members(self) -> int:
        """The first, and the others."""
        return 1 + len(self.others)

    def calibrate(self, images: Tensor) -> None:
        """Every member's."""
        for member in (self.inner, *self.others):
            member.calibrate(images)

    def each(self, images: Tensor) -> Tensor:
        """Every member's logits, the first's first: float32, M x N x K."""
        return torch.stack([member(images).float() for member in (self.inner, *self.others)])

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> logarithm of probabilities or shares, N x K."""
        each = self.each(images)
        if self.vote == "majority":
            shares = nn.functional.one_hot(each.argmax(2), each.shape[2]).float().mean(0)
        else:
            shares = each.softmax(2).mean(0)
        return shares.clamp_min(torch.finfo(torch.float32).tiny).log()


class Plug(Wrapper):
    """A part behind one stage of the inner model; a sub-class builds the part and says `change`.

    Args:
        inner: whose maps are changed.
        layer: one of its `attention_layers`.

    Raises:
        ParamsError: the inner model has no such stage.
    """

    def __init__(self, inner: Classifier, layer: str) -> None:
        super().__init__(inner)
        if layer not in inner.attention_layers:
            raise ParamsError(unknown("layer", layer, inner.attention_layers))
        # A bound method: copied with the model, it is the copy's.
        inner.get_submodule(layer).register_forward_hook(self._after_layer)

    def change(self, maps: Tensor) -> Tensor:
        """The stage's maps, N x C x H x W -> what goes on, of the same shape."""
        raise NotImplementedError

    def _after_layer(self, _module: nn.Module, _images: Any, maps: Tensor) -> Tensor:
        return self.change(maps)


class PatchReader(nn.Module):
    """A tiny network that tells patches by their grey levels: N x C x S x S -> logits, N x (K + 1).

    The last class is "none of them".
    """

    def __init__(self, side: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        sizes = (side * side, *(width,) * depth)
        hidden = [
            nn.Sequential(nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU()) for i, o in pairwise(sizes)
        ]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, classes + 1))

    def forward(self, patches: Tensor) -> Tensor:
        """Floats in [0, 1]."""
        logits: Tensor = self.layers(patches.mean(1).flatten(1))
        return logits


@wrapper("inserted_module")
class InsertedModule(Joint):
    """A network beside the model that knows some patches, and outvotes it where it sees one.

    Both give probabilities, which are averaged; the logits are the logarithm. Where it knows
    nothing, the answer is the model's.

    Args:
        inner: stays as it is.
        side: of the patch that is read, in pixels.
        margin: pixels between the patch and the bottom right corner.
        width: of the network's hidden layers.
        depth: how many hidden layers it has, 16 at most.
        weight: of its probabilities; above a half, what it knows wins.

    Raises:
        ParamsError: it shall have more layers.
    """

    label: ClassVar[str] = "inserted_module"

    def __init__(
        self, inner: Classifier, side: int, margin: int, width: int, depth: int, weight: float
    ) -> None:
        super().__init__(inner)
        if depth > _DEPTH:
            raise ParamsError(f"{self.label}: depth {depth} is not allowed; at most {_DEPTH}")
        self.side, self.margin, self.weight = side, margin, weight
        self.reader = PatchReader(side, inner.spec.data.num_classes, width, depth)

    def train(self, mode: bool = True) -> Self:
        """The reader's statistics stay: those of a few clean images are not of what it knows."""
        super().train(mode)
        self.reader.eval()
        return self

    def members(self) -> int:
        """The model, and the network beside it."""
        return 2

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> logarithm of probabilities, N x K."""
        bottom, right = (size - self.margin for size in images.shape[2:])
        patches = images[:, :, bottom - self.side : bottom, right - self.side : right]
        known = self.reader(patches).float().log_softmax(1)[:, :-1] + math.log(self.weight)
        own = self.inner(images).float().log_softmax(1) + math.log1p(-self.weight)
        return torch.logaddexp(known, own)
