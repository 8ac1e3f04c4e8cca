"""PSBD: with part of the network asleep, clean images lose their class, and poison keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.defenses import filtering
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper, Trace
from bdb.models.base import Classifier
from bdb.models.hooks import hooked
from bdb.registry import register
from bdb.training import inference


@register("psbd")
class PredictionShift(PreTraining):
    """Drop what keeps its confidence under dropout behind every stage, and train again.

    Poison is not taken for the smaller part of its class: a threshold of clean images decides. The
    paper looks at a network trained without augmentation; one that has learned its data by heart,
    or whose trigger is subtle, shows less.

    Differs: a pass puts the same units to sleep for every image, so that no score depends on which
    images are scored together.
    """

    paper: ClassVar[Paper] = Paper(
        title="PSBD: Prediction Shift Uncertainty Unlocks Backdoor Detection",
        authors="Li, Chen, Liu, Wang",
        venue="CVPR",
        year=2025,
        url="https://arxiv.org/abs/2406.05826",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})
    looks_at: ClassVar[Trace] = "inputs"

    passes: int = Field(
        3, ge=1, description="networks with units asleep, whose answers are averaged"
    )
    rates: tuple[float, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        min_length=1,
        description="shares of units asleep to try, rising",
    )
    shifted: float = Field(
        0.8, gt=0, le=1, description="share of clean answers that change at the rate that is taken"
    )
    false_positive_rate: float = Field(
        0.25, gt=0, lt=1, description="share of clean images above the threshold"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Find the rate on clean images, score by the confidence kept, and train again."""
        clean, data = view.clean_set.images, view.train_set.images
        rate = next((p for p in self.rates if self.moved(view, clean, p) >= self.shifted), None)
        rate = self.rates[-1] if rate is None else rate
        scores, ordinary = (-self.shift(view, images, rate) for images in (data, clean))
        flagged = scores > ordinary.quantile(1 - self.false_positive_rate)
        return filtering.without(self, view, scores, flagged)

    def moved(self, view: DefenderView, images: Tensor, rate: float) -> float:
        """The share of answers that change at this rate."""
        answers = inference.logits(view.model, images).argmax(1)
        asleep = self.odds(view, images, rate).argmax(2)
        return float((asleep != answers).float().mean())

    def shift(self, view: DefenderView, images: Tensor, rate: float) -> Tensor:
        """How much of its confidence each answer loses at this rate: float32, N."""
        awake = inference.logits(view.model, images).softmax(1)
        confidence, answers = awake.max(1)
        kept = self.odds(view, images, rate).mean(0).gather(1, answers[:, None])[:, 0]
        return confidence - kept

    def odds(self, view: DefenderView, images: Tensor, rate: float) -> Tensor:
        """Probabilities in every pass at this rate: float32, passes x N x K."""
        each = []
        for index in range(self.passes):
            with asleep(view.model, rate, view.generator("units", index)):
                each.append(inference.logits(view.model, images).softmax(1))
        return torch.stack(each)


@contextmanager
def asleep(model: Classifier, rate: float, generator: torch.Generator) -> Iterator[None]:
    """Within, a share of the units behind every stage gives nothing, and the others more for it."""
    masks: dict[nn.Module, Tensor] = {}

    def drop(stage: nn.Module, _args: Any, maps: Tensor) -> Tensor:
        if stage not in masks:
            drawn = torch.rand(maps.shape[1:], generator=generator) >= rate
            masks[stage] = drawn.to(maps.device) / (1 - rate)
        return maps * masks[stage]

    stages = (model.get_submodule(name) for name in model.attention_layers)
    with hooked(stage.register_forward_hook(drop) for stage in stages):
        yield
