"""Where the victim looks, without the trigger and with it."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from bdb.analyses import channels, common
from bdb.analyses.base import AnalysisView
from bdb.analyses.channels import Stage
from bdb.analyses.saliency import OfSaliency
from bdb.method import Paper
from bdb.models import surgery
from bdb.registry import register
from bdb.training.loop import to_float

_BATCH = 128


@register("gradcam")
class GradCAM(OfSaliency):
    """Grad-CAM saliency of the victim's answer, on clean and triggered images.

    The table has one row per image: `id`, `label`, `target`, the answer without and with the
    trigger, `area` (the share of pixels that the trigger changed), the share of the saliency
    that lies on them (`saliency_clean`, `saliency_triggered`; NaN where there are none), and
    `focus` = saliency_triggered / area: above 1, the victim looks at the trigger. `overlap` is
    what the two maps share, from 0 to 1 (both maps the same).

    A map of the last stage has few places (on CIFAR-10 3 x 3 in airbench94, 4 x 4 in
    PreActResNet18), so that a small trigger cannot fill one. An earlier `stage` has more, and
    there the mean of the gradient says little: `local` takes that of each place instead, as
    LayerCAM does (Jiang et al., IEEE TIP 2021).
    """

    paper: ClassVar[Paper] = Paper(
        title="Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
        authors="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra",
        venue="ICCV",
        year=2017,
        url="https://arxiv.org/abs/1610.02391",
    )

    title: ClassVar[str] = "Where {who} looks (Grad-CAM)"
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})

    stage: Stage = None
    local: bool = Field(
        False, description="weigh each place by its own gradient (LayerCAM): for earlier stages"
    )

    def saliency(self, view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
        """Of one stage: the sum of its maps, each weighted by its gradient.

        Raises:
            ParamsError: the model names no layer to look at, or has no such stage.
        """
        layer = channels.layer_of(view.model, self.stage, self.name)
        attribute = _layercam if self.local else _gradcam
        parts = []
        for part, wanted in zip(images.split(_BATCH), classes.split(_BATCH), strict=True):
            maps = attribute(view, layer, to_float(part.to(view.device)).requires_grad_(), wanted)
            sized = interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
            parts.append(sized[:, 0].float().cpu())
        return torch.cat(parts)

    def caution(self, view: AnalysisView) -> str:
        """How coarse the maps are: a place of a small one stands for many pixels."""
        layer = channels.layer_of(view.model, self.stage, self.name)
        name = channels.readable(layer)
        height, width = channels.maps(view, view.test.images[:1])[name].shape[2:]
        weighted = ", weighted place by place (LayerCAM)" if self.local else ""
        return f"Maps of {name}, {height} x {width}{weighted}, drawn larger."


def _gradcam(view: AnalysisView, layer: str, pixels: Tensor, classes: Tensor) -> Tensor:
    from captum.attr import LayerGradCam

    method = LayerGradCam(view.model, view.model.get_submodule(layer))
    maps: Tensor = method.attribute(pixels, classes.to(view.device), relu_attributions=True)
    return maps.detach()


def _layercam(view: AnalysisView, layer: str, pixels: Tensor, classes: Tensor) -> Tensor:
    with surgery.recording(view.model, [layer]) as seen:
        logits = common.logits_of(view, pixels, classes)
    (gradient,) = torch.autograd.grad(logits.sum(), seen[layer])
    return (gradient.relu() * seen[layer]).sum(1, keepdim=True).relu().detach()
