"""Pictures that serve as triggers, drawn by rule: nobody's rights, the same from the same seed."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

_DETAIL = 8  # of a picture: its shorter side over the sigma of its low-pass filter
_TINY = 1e-6
Pattern = Literal["picture", "drawing", "noise"]


def draw(pattern: Pattern, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """A picture of coloured clouds, one of flat colours, or white noise.

    Args:
        pattern: a `picture` has no detail finer than an eighth of the shorter side; a `drawing` is
            one whose channels are either nought or full, cut at the middle, so its edges are sharp.
        shape: C x H x W.
        generator: of the draws.

    Returns:
        float32, C x H x W, in [0, 1]; each channel of a picture takes up the whole range.
    """
    noise = torch.rand(shape, generator=generator)
    if pattern == "noise":
        return noise
    smooth = low_pass(noise, min(shape[1:]) / _DETAIL)
    clouds = torch.stack([stretch(channel) for channel in smooth])
    return (clouds > 0.5).float() if pattern == "drawing" else clouds


def photographs(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Coloured clouds with as much detail as photographs have: waves are as high as they are long.

    Args:
        count: N, how many.
        shape: C x H x W.
        generator: of the draws.

    Returns:
        float32, N x C x H x W, in [0, 1]; each takes up the whole range. Half of what the channels
        show is common to all.
    """
    common, own = (
        torch.rand((count, channels, *shape[1:]), generator=generator) for channels in (1, shape[0])
    )
    squares = _squares(common).clamp_min(1 / max(shape[1:]) ** 2)
    return torch.stack([stretch(each) for each in _filtered(common + own, squares.rsqrt())])


def low_pass(pattern: Tensor, sigma: float) -> Tensor:
    """Convolve ... x H x W with a Gaussian, in the frequency domain (so edges wrap around)."""
    return _filtered(pattern, torch.exp(-2 * (math.pi * sigma) ** 2 * _squares(pattern)))


def _filtered(pattern: Tensor, gain: Tensor) -> Tensor:
    """Each wave of ... x H x W, multiplied by its gain: H x (W // 2 + 1)."""
    return torch.fft.irfft2(torch.fft.rfft2(pattern) * gain, s=pattern.shape[-2:])


def _squares(pattern: Tensor) -> Tensor:
    """Of the frequencies of the waves in ... x H x W, in waves per pixel: H x (W // 2 + 1)."""
    height, width = pattern.shape[-2:]
    rows = torch.fft.fftfreq(height, device=pattern.device)[:, None]
    columns = torch.fft.rfftfreq(width, device=pattern.device)
    return rows**2 + columns**2


def stretch(pattern: Tensor) -> Tensor:
    """Stretch to [0, 1]; nothing stays nothing."""
    low, high = pattern.amin(), pattern.amax()
    return (pattern - low) / (high - low).clamp_min(_TINY)


def paste(images: Tensor, patch: Tensor, share: Tensor) -> Tensor:
    """Put a patch somewhere else on each image.

    Args:
        images: N x C x H x W.
        patch: C x h x w, of the same dtype.
        share: float in [0, 1), N x 2: how far down and to the right, of the room that there is.

    Returns:
        A copy with the patches.
    """
    height, width = patch.shape[1:]
    free = (images.shape[2] - height + 1, images.shape[3] - width + 1)
    top, left = (share * torch.tensor(free, device=images.device)).long().T[:, :, None]
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    pasted = images.clone()
    pasted[sample, :, rows[:, :, None], columns[:, None, :]] = patch.permute(1, 2, 0)
    return pasted


def lighten(images: Tensor, light: Tensor) -> Tensor:
    """Images with a light added, both uint8, which broadcast; white stays white."""
    return images + torch.minimum(light, 255 - images)
