"""MM-BD: some input is of a backdoor's target by an unusually large margin."""

from __future__ import annotations

import math
import sys
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from bdb.console import track
from bdb.defenses.base import DefenderView, ModelLevel, Outcome
from bdb.method import Paper
from bdb.registry import register
from bdb.training import device as devices

# Images of 32 x 32 per step, fewer of larger ones; bounds memory where there are many classes.
_FORWARD = 2048


@register("mm_bd")
class MaximumMargin(ModelLevel):
    """Search for the largest margin of every class over all images; suspect an outlier.

    Any trigger will do, and no data are needed. What the margins of clean classes are like is told
    from all but the largest, as a Gamma distribution: of nine values it is a rough one, and a class
    that is easy by nature stands out as well, on one or two of three clean models of digits. A
    patch stands out farther there; the margins of `blended` are those of clean classes.

    Differs: there is no momentum, which the reference declares and never applies; every class has
    the full number of steps, where the reference stops it at a relative change of 1e-5.
    """

    paper: ClassVar[Paper] = Paper(
        title="MM-BD: Post-Training Detection of Backdoor Attacks with Arbitrary Backdoor Pattern "
        "Types Using a Maximum Margin Statistic",
        authors="Wang, Xiang, Miller, Kesidis",
        venue="IEEE S&P",
        year=2024,
        url="https://arxiv.org/abs/2205.06900",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    evidence: ClassVar[tuple[str, ...]] = ("margin",)
    min_classes: ClassVar[int] = 4  # A Gamma distribution is fitted to all but one.

    restarts: int = Field(30, ge=1, description="random images that each class's search begins at")
    steps: int = Field(300, ge=1, description="of the ascent")
    lr: float = Field(0.01, gt=0, description="step per unit of slope, in pixels of [0, 1]")
    significance: float = Field(0.05, gt=0, lt=1, description="p-value that is a backdoor's")

    def run(self, view: DefenderView) -> Outcome:
        """Judge the model by how unlikely its largest margin is, given the others."""
        classes = torch.arange(view.data.num_classes)
        groups = classes.split(max(1, view.data.as_many(_FORWARD) // self.restarts))
        margins = torch.cat([self.search(view, group) for group in track(groups, "margins")])
        log_p = log_p_value(margins)
        backdoored = log_p <= math.log10(self.significance)
        verdict = {
            "backdoored": backdoored,
            "targets": [int(margins.argmax())] if backdoored else [],
            "suspect": int(margins.argmax()),
            "score": -log_p,
        }
        return Outcome(verdict=verdict, evidence={"margin": margins})

    def search(self, view: DefenderView, classes: Tensor) -> Tensor:
        """The largest margin found for each of these classes: float32, on the CPU.

        Images are kept in [0, 1]; a class's search is the same in whatever group it is.
        """
        shape = (self.restarts, *view.data.shape)
        starts = [torch.rand(shape, generator=view.generator("start", int(c))) for c in classes]
        images = torch.cat(starts).to(view.device)
        own = one_hot(classes.repeat_interleave(self.restarts), view.data.num_classes)
        own = own.bool().to(view.device)
        model = view.model.requires_grad_(False)
        best = torch.full((len(images),), -torch.inf, device=view.device)
        for _ in range(self.steps + 1):  # The last one only looks at where the steps led.
            images.requires_grad_()
            with devices.autocast(view.device):
                logits = model(images).float()
            margin = logits[own] - logits.masked_fill(own, -torch.inf).amax(1)
            best = torch.maximum(best, margin.detach())
            (slope,) = torch.autograd.grad(margin.sum(), images)
            images = (images.detach() + self.lr * slope).clamp(0, 1)
        return best.view(len(classes), -1).amax(1).cpu()


def log_p_value(margins: Tensor) -> float:
    """Decimal logarithm of the chance that the largest of so many Gamma values is as large.

    The distribution is fitted to the others. A class whose margin is never positive is never
    predicted, and has no part in it; without three that are, nothing can be told, and it is 0.
    """
    from scipy.stats import gamma

    *others, largest = margins[margins > 0].double().sort().values.tolist() or [0.0]
    if len(others) < 2 or others[0] == others[-1]:
        return 0.0
    shape, _, scale = gamma.fit(others, floc=0)
    chance = -math.expm1((len(others) + 1) * gamma.logcdf(largest, shape, scale=scale))
    return math.log10(max(chance, sys.float_info.min))
