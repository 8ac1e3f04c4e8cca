"""How visible a trigger is: PSNR, SSIM, MS-SSIM and VIF between clean and triggered images."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_BATCH = 1024
_WINDOW = 11  # pixels, of SSIM
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # the weights of MS-SSIM, the finest first
_SIZES = (17, 9, 5, 3)  # of VIF's windows in pixels, the finest scale first
_NEURAL_NOISE = 2.0  # variance, of VIF


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


def scales(height: int, width: int) -> int:
    """How many of the five scales of MS-SSIM such images have room for."""
    side, count = min(height, width), len(_SCALES)
    while count and side // max(2 ** (count - 1), (count - 1) ** 2) < _WINDOW:
        count -= 1
    return count


def ms_ssim(clean: Tensor, triggered: Tensor) -> Tensor:
    """SSIM over scales (Wang, Simoncelli, Bovik, Asilomar 2003) per image, float32, N, 0 to 1.

    Where images have no room for all five scales (under 176 pixels), over the finest ones, whose
    weights are raised in proportion; NaN where only one is left (under 22).
    """
    from bdb import torchvision_ops

    count = scales(*clean.shape[2:])
    if count < 2:
        return torch.full((len(clean),), math.nan)
    torchvision_ops.load()
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as measure,
    )

    weights = tuple(weight / sum(_SCALES[:count]) for weight in _SCALES[:count])
    parts = [
        measure(a.float(), b.float(), data_range=255.0, betas=weights, reduction="none")
        for a, b in zip(clean.split(_BATCH), triggered.split(_BATCH), strict=True)
    ]
    return torch.cat([torch.as_tensor(part).reshape(-1) for part in parts])


def vif(clean: Tensor, triggered: Tensor) -> Tensor:
    """Visual information fidelity (Sheikh, Bovik, IEEE TIP 2006) per image, float64, N.

    Of pixels, as the authors' fast version: 1 is all of the information in the clean image, and
    more is possible where contrast rises. The mean over channels, on the finest of the four scales
    that there is room for (all from 41 pixels, two from 25, one from 17). NaN where there is room
    for none, or a channel of the clean image is flat.
    """
    parts = [
        torch.stack([_vif(*pair) for pair in zip(a.unbind(1), b.unbind(1), strict=True)]).mean(0)
        for a, b in zip(clean.split(_BATCH), triggered.split(_BATCH), strict=True)
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


def _vif(clean: Tensor, triggered: Tensor) -> Tensor:
    """Of one channel: N x H x W -> N."""
    both = torch.stack([clean, triggered]).double()
    kept, total = torch.zeros_like(both[:, :, 0, 0])
    for size in _room(*clean.shape[1:]):
        both = both if size == _SIZES[0] else _blurred(both, size)[:, :, ::2, ::2]
        told = _information(both, size)
        kept, total = kept + told[0], total + told[1]
    return kept / total


def _room(height: int, width: int) -> Iterator[int]:
    """The windows of the scales that there is room for."""
    side = min(height, width)
    for size in _SIZES:
        # Blurred and halved, but for the finest.
        side = side if size == _SIZES[0] else (side - size + 2) // 2
        if side < size:
            return
        yield size


def _information(both: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What an eye is told by the distorted image and by the clean one, at one scale."""
    means = _blurred(both, size)
    clean, changed = (_blurred(both.square(), size) - means.square()).clamp(min=0)
    shared = _blurred(both.prod(0, keepdim=True), size)[0] - means.prod(0)
    # The distortion is a gain and an additive noise; where there is no signal, all is noise.
    gain = torch.where(clean > 1e-10, shared / clean, 0).clamp(min=0)
    noise = torch.where(gain > 0, changed - gain * shared, changed).clamp(min=0)
    told = torch.log1p(gain.square() * clean / (noise + _NEURAL_NOISE))
    return told.sum((1, 2)), torch.log1p(clean / _NEURAL_NOISE).sum((1, 2))


def _blurred(images: Tensor, size: int) -> Tensor:
    """A Gaussian window of so many pixels, a fifth of it the deviation: ... x H x W, smaller."""
    places = torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2
    line = torch.exp(-places.square() / (2 * (size / 5) ** 2))
    line = line / line.sum()
    flat = images.flatten(0, -3)[:, None]
    across = conv2d(conv2d(flat, line[None, None, None]), line[None, None, :, None])
    return across.reshape(*images.shape[:-2], *across.shape[2:])


def summary(clean: Tensor, triggered: Tensor) -> dict[str, float | None]:
    """Means over the images; PSNR over those that changed, null if none did."""
    decibels = psnr(clean, triggered)
    changed = decibels[decibels.isfinite()]
    means = {
        "psnr": float(changed.mean()) if len(changed) else math.nan,
        "ssim": float(ssim(clean, triggered).mean()) if len(clean) else math.nan,
    }
    return {name: None if math.isnan(value) else round(value, 4) for name, value in means.items()}
