"""How strongly the channels of a layer answer to images, without the trigger and with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfNeurons
from bdb.analyses.common import Choice
from bdb.errors import ParamsError
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.training import inference
from bdb.training.loop import to_float

Stage = Annotated[
    int | None,
    Field(ge=1, description="of the model's stages, counted from 1; the last if left out"),
]


@dataclass(frozen=True)
class Responses:
    """A channel's answer to an image is the mean of its map.

    Attributes:
        layer: its name, as a person reads it.
        choice: the images that were shown.
        clean: float32, N x C.
        triggered: float32, T x C.
    """

    layer: str
    choice: Choice
    clean: Tensor
    triggered: Tensor

    @property
    def twins(self) -> Tensor:
        """The answers to the clean images behind the triggered ones: float32, T x C."""
        return self.clean[self.choice.twins]

    @property
    def both(self) -> Tensor:
        """The answers to the clean images, and then those to the triggered ones: N + T x C."""
        return torch.cat([self.clean, self.triggered])

    @property
    def difference(self) -> Tensor:
        """What the trigger adds to each channel's answer, on average: float32, C."""
        return (self.triggered - self.twins).mean(0)

    def most_changed(self, count: int) -> Tensor:
        """The channels that the trigger moves furthest, up or down, first to last: int64."""
        return self.difference.abs().argsort(descending=True, stable=True)[:count]


class OfChannels(OfNeurons):
    """Looks at the channels of one stage of a model."""

    requires: ClassVar[frozenset[str]] = frozenset({"maps"})

    stage: Stage = None
    samples: int = Field(
        1000, ge=10, le=20_000, description="clean test images, spread over the classes"
    )

    def responses(self, view: AnalysisView) -> Responses:
        """Show the model the chosen clean images, and those of them that have the trigger.

        Raises:
            ParamsError: the model has no such stage.
        """
        layer = layer_of(view.model, self.stage, self.name)
        choice = common.choose(view, self.samples, self.name)
        clean, triggered = (
            respond(view, layer, images.images) for images in (choice.clean, choice.triggered)
        )
        return Responses(readable(layer), choice, clean, triggered)


def layer_of(model: Classifier, stage: int | None, who: str) -> str:
    """The name of a stage, counted from 1; of the last for None.

    Raises:
        ParamsError: there is no such stage; `who` asked.
    """
    layers = model.attention_layers
    if not layers:
        raise ParamsError(
            f"{who}: the model {model.spec.architecture!r} declares no attention_layers; "
            "leave it out"
        )
    if stage is not None and stage > len(layers):
        raise ParamsError(
            f"{who}.stage: {stage}, but {model.spec.architecture} has {len(layers)} stages"
        )
    return layers[-1 if stage is None else stage - 1]


def readable(layer: str) -> str:
    """A layer's name without that of the wrappers around it."""
    return layer.rpartition("inner.")[2]


def answer(view: AnalysisView, layer: str, images: Tensor) -> Tensor:
    """Each channel's answer to a few images, floats in [0, 1]: N x C; gradients reach these."""
    with surgery.recording(view.model, [layer]) as seen:
        view.model(images)
    return seen[layer].mean((2, 3))


def respond(view: AnalysisView, layer: str, images: Tensor) -> Tensor:
    """Each channel's answer to each of many uint8 images: float32, N x C, on the CPU."""
    return inference.in_batches(partial(answer, view, layer), images, view.device)


def top(answers: Tensor, count: int) -> Tensor:
    """Positions of the largest of one channel's answers, largest first: int64."""
    return answers.argsort(descending=True, stable=True)[:count]


@torch.no_grad()
def maps(view: AnalysisView, images: Tensor) -> dict[str, Tensor]:
    """What each stage makes of a few uint8 images: float32, N x C x H x W, by its readable name."""
    layers = view.model.attention_layers
    with surgery.recording(view.model, layers) as seen:
        view.model(to_float(images.to(view.device)))
    return {readable(name): seen[name].float().cpu() for name in layers}
