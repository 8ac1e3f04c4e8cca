"""How visible a trigger is: PSNR and SSIM between clean and triggered images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BATCH = 1024


def psnr(clean: Tensor, triggered: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB per image, float32, N; infinite where nothing changed.

    Args:
        clean: uint8, N x C x H x W.
        triggered: uint8, the same shape.
    """
    error = (clean.float() - triggered.float()).pow(2).flatten(1).mean(1)
    return 10 * torch.log10(255.0**2 / error)


def ssim(clean: Tensor, triggered: Tensor) -> Tensor:
    """Structural similarity (Wang et al., IEEE TIP 2004) per image, float32, N, at most 1."""
    from bdb import torchvision_ops

    torchvision_ops.load()  # torchmetrics imports torchvision
    from torchmetrics.functional.image import structural_similarity_index_measure as measure

    parts = [
        measure(a.float(), b.float(), data_range=255.0, reduction="none")
        for a, b in zip(clean.split(_BATCH), triggered.split(_BATCH), strict=True)
    ]
    return torch.cat([torch.as_tensor(part).reshape(-1) for part in parts])


def summary(clean: Tensor, triggered: Tensor) -> dict[str, float | None]:
    """Means over the images; PSNR over those that changed, null if none did."""
    decibels = psnr(clean, triggered)
    changed = decibels[decibels.isfinite()]
    means = {
        "psnr": float(changed.mean()) if len(changed) else math.nan,
        "ssim": float(ssim(clean, triggered).mean()) if len(clean) else math.nan,
    }
    return {name: None if math.isnan(value) else round(value, 4) for name, value in means.items()}
