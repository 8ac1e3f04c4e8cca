"""MCR: leave the suspect along a path of low loss that clean images show."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import inference, statistics
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_STEPS = 20  # places on the path, of which one is chosen


@register("mcr")
class ModeConnectivityRepair(PostTraining):
    """Train a curve of networks from the suspect to its fine-tuned copy, and take one on the way.

    The curve is Bezier's of second order: its ends stay, its middle is trained so that clean images
    are recognised everywhere on it. What no clean image asks for, fades in between.

    Differs: BackdoorBench gives back the last network that it has evaluated, whatever `t` says.
    """

    paper: ClassVar[Paper] = Paper(
        title="Bridging Mode Connectivity in Loss Landscapes and Adversarial Robustness",
        authors="Zhao, Chen, Das, Ramamurthy, Lin",
        venue="ICLR",
        year=2020,
        url="https://arxiv.org/abs/2005.00060",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})

    tuning_epochs: int = Field(100, ge=1, description="passes that tune the other end")
    tuning_lr: float = Field(0.01, gt=0, description="learning rate of these, along a cosine")
    epochs: int = Field(100, ge=1, description="passes that train the middle")
    lr: float = Field(3e-5, gt=0, description="learning rate of these, along a cosine")
    batch_size: int = Field(128, ge=2, description="samples per step")
    t: float | None = Field(
        0.1, ge=0, le=1, description="place on the path; null: as held-out accuracy allows"
    )
    max_drop: float = Field(
        0.1, gt=0, le=1, description="t null: relative loss of held-out accuracy allowed"
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="t null: share of the clean set that decides"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Tune, connect, and take one network, with batch statistics of its own."""
        if self.t is not None:
            path = self.connect(view, view.clean_set)
            return Outcome(model=path.at(self.t, view.clean_set))
        kept, held = view.split_clean(self.held_out)
        path = self.connect(view, kept)
        return Outcome(model=self.choose(path, kept, held))

    def connect(self, view: DefenderView, data: ImageSet) -> Path:
        """The path from the suspect to a copy that is tuned on the data."""
        end = models.duplicate(view.model)
        tuning = Recipe(epochs=self.tuning_epochs, batch_size=self.batch_size, lr=self.tuning_lr)
        view.fit(end, data, tuning, what="tune")
        path = Path(view.model, end)
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)
        view.fit(path.middle, data, recipe, step=path.loss, what="connect")
        return path

    def choose(self, path: Path, kept: ImageSet, held: ImageSet) -> Classifier:
        """The network nearest to the middle that knows the images held out; else the suspect."""
        floor = (1 - self.max_drop) * inference.accuracy(path.start, held.images, held.labels)
        for step in sorted(range(_STEPS + 1), key=lambda step: abs(step - _STEPS / 2)):
            model = path.at(step / _STEPS, kept)
            if inference.accuracy(model, held.images, held.labels) >= floor:
                return model
        return path.start


class Path:
    """A quadratic Bezier curve in the space of weights, of which the middle is trained."""

    def __init__(self, start: Classifier, end: Classifier) -> None:
        self.start, self.middle, self.end = start, models.duplicate(start), end
        with torch.no_grad():
            for middle, other in zip(self.middle.parameters(), end.parameters(), strict=True):
                middle.lerp_(other, 0.5)

    def weights(self, t: Tensor) -> dict[str, Tensor]:
        """Of the network at `t`, in [0, 1]; gradients reach the middle's."""
        ends = zip(self.start.parameters(), self.end.parameters(), strict=True)
        return {
            name: (1 - t) ** 2 * start.detach() + 2 * t * (1 - t) * middle + t**2 * end.detach()
            for (name, middle), (start, end) in zip(
                self.middle.named_parameters(), ends, strict=True
            )
        }

    def loss(self, middle: nn.Module, batch: Batch) -> Tensor:
        """The cross-entropy somewhere on the path."""
        logits = functional_call(middle, self.weights(batch.rand(1)), (batch.images,))
        return cross_entropy(logits, batch.labels)

    def at(self, t: float, data: ImageSet) -> Classifier:
        """The network at `t`, with the batch statistics that the images have there."""
        model = models.duplicate(self.middle)
        model.load_state_dict(self.weights(torch.tensor(t)), strict=False)
        statistics.relearn(model, data.images)
        return model
