"""Which pixels speak for an answer, without the trigger and with it."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView
from bdb.analyses.saliency import OfSaliency
from bdb.method import Paper
from bdb.registry import register
from bdb.training.loop import to_float

_BATCH = 128


@register("shap")
class Shap(OfSaliency):
    """Shapley values of pixels, by expected gradients: what speaks for the victim's answer.

    An attribution is the gradient of the answer's logit, at a random place between the image and a
    clean test image (the background), times the difference of the two, averaged over draws: with
    enough of them the attributions add up to what the logit is above that of the background. Those
    of a pixel's colours are added; the saliency is what is positive of that.

    The table has one row per image: `id`, `label`, `target`, the answer without and with the
    trigger, `area` (the share of pixels that the trigger changed), the share of the saliency
    that lies on them (`saliency_clean`, `saliency_triggered`; NaN where there are none), and
    `focus` = saliency_triggered / area: above 1, the trigger speaks for the answer. `overlap` is
    what the two maps share, from 0 to 1 (both maps the same).

    The same draws serve an image and its twin. Differs: captum's GradientShap is not used, for it
    draws from NumPy's global generator; and no noise is added to the images.
    """

    paper: ClassVar[Paper] = Paper(
        title="A Unified Approach to Interpreting Model Predictions",
        authors="Lundberg, Lee",
        venue="NeurIPS",
        year=2017,
        url="https://arxiv.org/abs/1705.07874",
    )
    title: ClassVar[str] = "Which pixels speak for the answer of {who} (SHAP)"

    samples: int = Field(50, ge=1, le=20000, description="images measured, spread over classes")
    draws: int = Field(20, ge=1, le=1000, description="of a background and a place, per image")
    background: int = Field(100, ge=1, le=20000, description="clean test images, of every class")

    def saliency(self, view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
        """What is positive of the attributions."""
        return self.attributions(view, images, classes).sum(1).clamp_min(0)

    def attributions(self, view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
        """How much each value of each image adds to its class's logit.

        Args:
            view: of the model.
            images: uint8, N x C x H x W.
            classes: int64, N.

        Returns:
            float32, N x C x H x W, on the CPU.
        """
        rows = common.spread(view.test.labels, self.background, view.generator("background"))
        background = view.test.images.cpu()[rows]
        generator = view.generator(self.name, "draws")
        parts = []
        for part, wanted in zip(images.split(_BATCH), classes.split(_BATCH), strict=True):
            total = torch.zeros(part.shape)
            for _ in range(self.draws):
                other = torch.randint(len(background), (len(part),), generator=generator)
                place = torch.rand(len(part), 1, 1, 1, generator=generator)
                total += _along(view, part, background[other], place, wanted)
            parts.append(total / self.draws)
        return torch.cat(parts)


def _along(
    view: AnalysisView, images: Tensor, background: Tensor, place: Tensor, classes: Tensor
) -> Tensor:
    """The gradient at a place on the way from a background to each image, times the way."""
    start, end = (to_float(each.to(view.device)) for each in (background, images))
    way = end - start
    between = start + place.to(view.device) * way
    return (common.slopes(view, between, classes) * way).float().cpu()
