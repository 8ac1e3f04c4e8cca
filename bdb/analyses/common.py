"""What several analyses need of images: a fair choice, pixels to draw, names, likeness."""

from __future__ import annotations

import textwrap

import numpy as np
import torch
from torch import Tensor

from bdb.analyses.base import AnalysisView
from bdb.training import inference
from bdb.training.loop import to_float

_BATCH = 1024


def spread(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions of `count` samples, drawn evenly from the classes: int64, ordered by class."""
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=generator)
    turn = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique():
        mine = order[labels[order] == label]
        turn[mine] = torch.arange(len(mine))
    first = order[turn[order].argsort(stable=True)][:count]
    return first[labels[first].argsort(stable=True)]


def predictions(view: AnalysisView, images: Tensor) -> Tensor:
    """The class that the victim gives each image: int64, N, on the CPU."""
    if not len(images):
        return torch.empty(0, dtype=torch.int64)
    return inference.logits(view.model, images).argmax(1)


def drawable(image: Tensor) -> np.ndarray:
    """One uint8 image, C x H x W, as matplotlib draws it: H x W x 3."""
    pixels = image.cpu().permute(1, 2, 0).numpy()
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)) if pixels.shape[2] == 1 else pixels


def class_name(view: AnalysisView, label: int, width: int = 13) -> str:
    """A class's name, short enough to stand beside an image."""
    return textwrap.shorten(view.data.classes[label], width, placeholder="…") or str(label)


def likeness(images: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR in dB (infinite where nothing changed) and SSIM of each image: float32, N.

    Args:
        images: uint8, N x C x H x W.
        originals: the same shape.
    """
    _declare_operators()
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    psnr, ssim = [], []
    for part, whole in zip(images.split(_BATCH), originals.split(_BATCH), strict=True):
        a, b = to_float(part), to_float(whole.to(part.device))
        psnr.append(
            peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3)).cpu()
        )
        found = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
        assert isinstance(found, Tensor)
        ssim.append(found.reshape(-1).cpu())
    return torch.cat(psnr), torch.cat(ssim)


def _declare_operators() -> None:
    """Make torchvision importable beside a torch that its compiled operators do not fit.

    torchmetrics imports torchvision, and PyPI's wheel next to a CPU-only torch fails for want of
    two operators that image likeness never calls; declaring them is enough.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)
