"""Where the victim looks, without the trigger and with it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bdb.analyses import channels
from bdb.analyses.base import AnalysisView
from bdb.analyses.saliency import OfSaliency
from bdb.method import Paper
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

    def saliency(self, view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
        """Of the last attention layer.

        Raises:
            ParamsError: the model names no layer to look at.
        """
        return saliency(view, images, classes)


def saliency(view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM of each image for its class, on the model's last attention layer.

    Args:
        view: of the victim.
        images: uint8, N x C x H x W.
        classes: int64, N.

    Returns:
        float32, N x H x W, not negative, on the CPU.
    """
    from captum.attr import LayerGradCam

    layer = view.model.get_submodule(channels.layer_of(view.model, None, "gradcam"))
    method = LayerGradCam(view.model, layer)
    parts = []
    for part, wanted in zip(images.split(_BATCH), classes.split(_BATCH), strict=True):
        pixels = to_float(part.to(view.device)).requires_grad_()
        maps = method.attribute(pixels, wanted.to(view.device), relu_attributions=True)
        sized = interpolate(maps.detach(), images.shape[2:], mode="bilinear", align_corners=False)
        parts.append(sized[:, 0].float().cpu())
    return torch.cat(parts)
