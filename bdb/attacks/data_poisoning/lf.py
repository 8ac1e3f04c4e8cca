"""LF: a universal perturbation without high frequencies, optimised on a clean model."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.base import AttackContext, DataPoisoning, Role, State
from bdb.attacks.extent import Extent
from bdb.attacks.pictures import low_pass, stretch
from bdb.method import Paper
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import seeds
from bdb.training.loop import to_bytes, to_float

_PART = 25  # samples that are searched at once, before the pattern moves
_PATIENCE = 5  # passes without progress
_PROGRESS = 0.01
_TINY = 1e-6


@register("lf")
class LowFrequency(DataPoisoning):
    """A smooth pattern that already draws a clean model to the target, added to the image.

    Differs: the published pattern is a file; ours is made by the search that the paper describes.
    """

    paper: ClassVar[Paper] = Paper(
        title="Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective",
        authors="Zeng, Park, Mao, Jia",
        venue="ICCV",
        year=2021,
        url="https://arxiv.org/abs/2104.03413",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"clean_model"})
    # Wider filters leave nothing but the mean.
    extent: ClassVar[Extent] = {"side": {"sigma": 4}}
    shares_trigger: ClassVar[bool] = True

    pattern: Literal["optimised", "picture"] = Field(
        "optimised", description="drawn by the search, or as smooth a one that knows no model"
    )
    amplitude: float = Field(0.2, gt=0, le=1, description="largest value of the pattern, of 1")
    sigma: float = Field(6.0, gt=0, le=64, description="of the Gaussian low-pass filter, in pixels")
    samples: int = Field(100, ge=1, description="clean images that the pattern is optimised on")
    passes: int = Field(50, ge=1, description="over the samples, at most")
    fooling_rate: float = Field(0.2, gt=0, le=1, description="share of fooled samples to stop at")
    deepfool_steps: int = Field(200, ge=1, description="of one search, at most")
    overshoot: float = Field(0.02, ge=0, le=1, description="how far a search passes the boundary")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Make the pattern: float32, C x H x W, in [0, amplitude]."""
        if self.pattern == "optimised":
            return {"pattern": self._search(context)}
        noise = torch.rand(context.data.shape, generator=context.generator(self.name, "picture"))
        return {"pattern": self._stretch(low_pass(noise, self.sigma))}

    def _search(self, context: AttackContext) -> Tensor:
        """Ends early once enough samples are fooled, or when more passes do not fool more."""
        images, targets = self.draw(context)
        model = context.clean_model
        course = torch.zeros_like(images[0])
        rates: list[float] = []
        for _ in range(self.passes):
            for part in torch.arange(len(images)).split(_PART):
                start = (images[part] + self._stretch(course)).clamp(0, 1)
                course = course + self._deepfool(model, start, targets[part]).sum(0)
            with torch.no_grad():
                hits = _hit(model((images + self._stretch(course)).clamp(0, 1)), targets)
            rates.append(float(hits.float().mean()))
            if rates[-1] >= self.fooling_rate or _stalled(rates):
                break
        return self._stretch(course)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the pattern."""
        return to_bytes(to_float(images) + state["pattern"])

    def draw(self, context: AttackContext) -> tuple[Tensor, Tensor]:
        """Clean images that are not of their own target's class, and these targets."""
        rng = seeds.numpy_generator(context.seed, "attack", self.name, "samples")
        labels = context.train.labels.cpu().numpy()
        targets = self.relabel(labels, rng, context.data.num_classes)
        chosen = rng.permutation(np.flatnonzero(labels != targets))[: self.samples]
        images = to_float(context.train.images[torch.from_numpy(chosen)].to(context.device))
        return images, torch.from_numpy(targets[chosen]).to(context.device)

    def _stretch(self, course: Tensor) -> Tensor:
        return self.amplitude * stretch(course)

    def _deepfool(self, model: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        """A short smooth way of each image over the boundary to its target: N x C x H x W."""
        shift = torch.zeros_like(images)
        for _ in range(self.deepfool_steps):
            moved = (images + shift).requires_grad_()
            logits = model(moved)
            open_ = ~_hit(logits, targets)
            if not open_.any():
                break
            margin = logits.amax(1) - logits.gather(1, targets[:, None])[:, 0]
            (slope,) = torch.autograd.grad(margin.sum(), moved)
            smooth = low_pass(slope, self.sigma)
            gain = (slope * smooth).flatten(1).sum(1).clamp_min(_TINY)
            length = open_ * (margin.detach() + _TINY) / gain * (1 + self.overshoot)
            shift -= length[:, None, None, None] * smooth
        return shift


def _hit(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.argmax(1) == targets


def _stalled(rates: list[float]) -> bool:
    """Whether the last passes have not fooled more samples than those before them."""
    recent, earlier = rates[-_PATIENCE:], rates[:-_PATIENCE]
    return bool(earlier) and max(recent) < max(earlier) + _PROGRESS
