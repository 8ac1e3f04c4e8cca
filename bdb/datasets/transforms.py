"""Changes to a batch of images, each by a number of its own: cuts, turns, colours, holes.

Images are floats in [0, 1], N x C x H x W; the numbers float32 or int64, N, on the images' device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

# Of red, green and blue in what the eye takes for brightness: ITU-R BT.601.
_LUMA = (0.2989, 0.587, 0.114)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn counter-clockwise about the middle, bilinearly; what comes in from outside is black."""
    height, width = images.shape[2:]
    turn = degrees.deg2rad()[:, None, None]
    down, across = _from_middle(height, images)[:, None], _from_middle(width, images)
    columns = turn.cos() * across - turn.sin() * down
    rows = turn.sin() * across + turn.cos() * down
    grid = torch.stack([columns * 2 / width, rows * 2 / height], dim=-1).to(images.dtype)
    with torch.autocast(images.device.type, enabled=False):
        return grid_sample(images, grid, align_corners=False)


def enlarge(
    images: Tensor, heights: Tensor, widths: Tensor, down: Tensor, across: Tensor
) -> Tensor:
    """Take a part of each image, scaled back to the size of the whole, bilinearly.

    Args:
        images: of any size.
        heights: of the parts, as shares of the image's own, in (0, 1].
        widths: likewise.
        down: where each part lies, from 0 (at the top) to 1 (at the bottom).
        across: likewise, from left to right.
    """
    size = images.shape[2:]
    rows, columns = (
        (1 - share)[:, None] * (2 * place - 1)[:, None]
        + share[:, None] * _from_middle(side, images) * 2 / side
        for share, place, side in zip((heights, widths), (down, across), size, strict=True)
    )
    grid = torch.stack(
        [columns[:, None, :].expand(-1, *size), rows[:, :, None].expand(-1, *size)], dim=-1
    ).to(images.dtype)
    with torch.autocast(images.device.type, enabled=False):
        return grid_sample(images, grid, padding_mode="border", align_corners=False)


def brighten(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply every pixel."""
    return (images * _by_image(factors)).clamp(0, 1)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply every pixel's distance from the image's mean grey."""
    return _away(images, _grey(images).mean((1, 2, 3), keepdim=True), factors)


def saturate(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply every pixel's distance from its own grey; only three channels have colours."""
    return _away(images, _grey(images), factors) if images.shape[1] == len(_LUMA) else images


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the circle of colours, by 1 once around; only three channels have colours."""
    if images.shape[1] != len(_LUMA):
        return images
    value, red, green, blue = images.amax(1), *images.unbind(1)
    chroma = value - images.amin(1)
    parts = chroma.clamp_min(torch.finfo(images.dtype).tiny)
    toward_green = torch.where(value == green, 2 + (blue - red) / parts, 4 + (red - green) / parts)
    sector = torch.where(value == red, (green - blue) / parts, toward_green)
    sector = sector + 6 * turns[:, None, None]
    # Each channel is a trapezium over the six sectors; they differ in where theirs begins.
    begun = torch.stack([(sector + start) % 6 for start in (5, 3, 1)], dim=1)
    return value[:, None] - chroma[:, None] * torch.minimum(begun, 4 - begun).clamp(0, 1)


def grayscale(images: Tensor, chosen: Tensor) -> Tensor:
    """Take the colours from the chosen images: bool, N."""
    return torch.where(_by_image(chosen), _grey(images), images)


def cut_out(images: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
    """Blacken a square around a pixel of each image; what lies outside of the image is cut off."""
    down = _within(rows, images.shape[2], side)[:, None, :, None]
    across = _within(columns, images.shape[3], side)[:, None, None, :]
    return images.masked_fill(down & across, 0)


def _from_middle(side: int, images: Tensor) -> Tensor:
    """How far each row or column lies from the middle, in pixels."""
    return torch.arange(side, device=images.device) - (side - 1) / 2


def _by_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _away(images: Tensor, middle: Tensor, factors: Tensor) -> Tensor:
    return (middle + _by_image(factors) * (images - middle)).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    """N x 1 x H x W of images with colours; others are as they are."""
    if images.shape[1] != len(_LUMA):
        return images
    red, green, blue = images.split(1, dim=1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _within(centres: Tensor, size: int, side: int) -> Tensor:
    """Which of the rows or columns the square takes: bool, N x size."""
    first = centres[:, None] - side // 2
    places = torch.arange(size, device=centres.device)
    return (places >= first) & (places < first + side)
