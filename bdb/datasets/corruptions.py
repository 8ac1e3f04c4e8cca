"""Common corruptions at five severities, batched: noise, blur, weather, and what compression loses.

Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations. ICLR 2019. Differs: twelve of their fifteen, without glass blur, snow and frost;
lengths are shares of the image's side, so that small images survive the first severities; shot
noise is normal; blurs go one way; every channel is compressed as brightness is.

Images are floats in [0, 1], N x C x H x W; draws are uniform in [0, 1), of the same shape. What is
random in an image hangs on its own draws alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

from bdb.datasets import transforms

SEVERITIES = 5
_BLOCK = 8  # pixels of a side that JPEG compresses together
_QUANTA = (2.0, 4.0, 6.0, 10.0, 16.0)  # JPEG's steps of the finest wave, in 1/255, per severity


def gaussian_noise(images: Tensor, severity: int, draws: Tensor) -> Tensor:
    """Add normal noise."""
    return images + (0.04, 0.08, 0.12, 0.18, 0.26)[severity] * _normal(draws)


def shot_noise(images: Tensor, severity: int, draws: Tensor) -> Tensor:
    """Count so few photons that their number varies."""
    photons = (250, 100, 50, 25, 12)[severity]
    return images + (images / photons).sqrt() * _normal(draws)


def impulse_noise(images: Tensor, severity: int, draws: Tensor) -> Tensor:
    """Turn some pixels black or white."""
    half = (0.01, 0.03, 0.06, 0.1, 0.17)[severity] / 2
    return images.masked_fill(draws < half, 0).masked_fill(draws >= 1 - half, 1)


def defocus_blur(images: Tensor, severity: int, _draws: Tensor) -> Tensor:
    """Spread every pixel over a disk."""
    radius = (0.02, 0.035, 0.05, 0.07, 0.1)[severity] * min(images.shape[2:])
    reach = math.ceil(radius)
    across = torch.arange(-reach, reach + 1, device=images.device)
    disk = (radius + 0.5 - torch.hypot(across[:, None].float(), across.float())).clamp(0, 1)
    return _convolve(images, disk)


def motion_blur(images: Tensor, severity: int, _draws: Tensor) -> Tensor:
    """Spread every pixel along the diagonal."""
    length = (0.06, 0.1, 0.15, 0.2, 0.3)[severity] * min(images.shape[2:])
    return _convolve(images, torch.eye(2 * math.ceil(length / 2) + 1, device=images.device))


def zoom_blur(images: Tensor, severity: int, _draws: Tensor) -> Tensor:
    """Lay images over each other that are more and more enlarged."""
    most = (0.06, 0.11, 0.16, 0.22, 0.32)[severity]
    shrunk = torch.linspace(1, 1 + most, 6).reciprocal().tolist()
    return torch.stack([_resample(images, share) for share in shrunk]).mean(0)


def fog(images: Tensor, severity: int, draws: Tensor) -> Tensor:
    """Lay clouds over the image."""
    density = (0.2, 0.5, 0.75, 1.0, 1.5)[severity]
    octaves = [_smooth(draws[:, :1], cells) / 2**level for level, cells in enumerate((2, 4, 8))]
    clouds = torch.stack(octaves).sum(0) / 1.75
    return (images + density * clouds) / (1 + density)


def brightness(images: Tensor, severity: int, _draws: Tensor) -> Tensor:
    """Add to every pixel."""
    return images + 0.1 * (severity + 1)


def contrast(images: Tensor, severity: int, _draws: Tensor) -> Tensor:
    """Move every pixel towards the mean grey."""
    factor = (0.75, 0.5, 0.4, 0.3, 0.15)[severity]
    return transforms.contrast(images, torch.full_like(images[:, 0, 0, 0], factor))


def elastic(images: Tensor, severity: int, draws: Tensor) -> Tensor:
    """Push pixels about, neighbours alike."""
    reach = (0.06, 0.1, 0.14, 0.18, 0.24)[severity]
    pushed = reach * (2 * torch.cat([_smooth(draws[:, :1], 6), _smooth(draws[:, -1:], 5)], 1) - 1)
    grid = _grid(images, 1.0) + 2 * pushed.permute(0, 2, 3, 1)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def pixelate(images: Tensor, severity: int, _draws: Tensor) -> Tensor:
    """Take fewer and larger pixels."""
    share = (0.8, 0.65, 0.5, 0.4, 0.3)[severity]
    size = [max(1, round(share * side)) for side in images.shape[2:]]
    few = interpolate(images, size=size, mode="area")
    return interpolate(few, size=images.shape[2:], mode="nearest")


def compression(images: Tensor, severity: int, _draws: Tensor) -> Tensor:
    """Round the waves of every block of 8 x 8, fine ones the most, as JPEG does."""
    height, width = images.shape[2:]
    framed = pad(images, [0, -width % _BLOCK, 0, -height % _BLOCK], mode="replicate")
    blocks = framed.unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK)
    order = torch.arange(_BLOCK, device=images.device)
    waves = (torch.pi / _BLOCK * order[:, None] * (order + 0.5)).cos() * (2 / _BLOCK) ** 0.5
    waves[0] /= 2**0.5
    step = _QUANTA[severity] * (2.0 + order[:, None] + order) / 255
    rounded = ((waves @ blocks @ waves.T) / step).round() * step
    back = (waves.T @ rounded @ waves).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return back[..., :height, :width]


CORRUPTIONS: dict[str, Callable[[Tensor, int, Tensor], Tensor]] = {
    each.__name__: each
    for each in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        motion_blur,
        zoom_blur,
        fog,
        brightness,
        contrast,
        elastic,
        pixelate,
        compression,
    )
}


def corrupt(images: Tensor, name: str, severity: int, draws: Tensor) -> Tensor:
    """Images under one of `CORRUPTIONS`; severity counts from 0, the least."""
    with torch.autocast(images.device.type, enabled=False):
        return CORRUPTIONS[name](images, severity, draws).clamp(0, 1)


def _normal(draws: Tensor) -> Tensor:
    return torch.special.ndtri(draws.clamp(1e-6, 1 - 1e-6))


def _convolve(images: Tensor, kernel: Tensor) -> Tensor:
    """Every channel, with the border repeated."""
    channels, reach = images.shape[1], len(kernel) // 2
    weight = (kernel / kernel.sum()).expand(channels, 1, -1, -1)
    return conv2d(pad(images, [reach] * 4, mode="replicate"), weight, groups=channels)


def _grid(images: Tensor, share: float) -> Tensor:
    """Where to look for each pixel, if the middle share of the image is to fill it."""
    turn = torch.tensor([[share, 0.0, 0.0], [0.0, share, 0.0]], device=images.device)
    return affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)


def _resample(images: Tensor, share: float) -> Tensor:
    return grid_sample(images, _grid(images, share), align_corners=False)


def _smooth(draws: Tensor, cells: int) -> Tensor:
    """Draws that neighbours share, N x 1 x H x W: of so many cells a side."""
    coarse = draws[:, :, :cells, :cells]
    return interpolate(coarse, size=draws.shape[2:], mode="bicubic", align_corners=False)
