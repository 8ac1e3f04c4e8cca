"""Clean images as another camera might have taken them: brightness, contrast, blur, noise."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bdb.torchvision_ops import load

# At severity 1.
_FACTOR = 0.8  # of brightness and contrast, which go up or down by as much
_BLUR = 0.06  # standard deviation in sides of the image
_NOISE = 48.0  # standard deviation in grey levels


def shift(images: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Give every image one of four shifts, drawn evenly: brightness, contrast, blur, noise.

    Args:
        images: uint8, N x C x H x W, on the CPU.
        severity: above 0, at most 1.
        generator: of all draws.

    Returns:
        uint8, the same shape.
    """
    shifts = (_brighten, _contrast, _blur, _noise)
    kinds = torch.randperm(len(images), generator=generator) % len(shifts)
    shifted = images.clone()
    for kind, apply in enumerate(shifts):
        mine = kinds == kind
        if mine.any():
            shifted[mine] = apply(images[mine], severity, generator)
    return shifted


def _brighten(images: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    return _each(_functional().adjust_brightness, images, severity, generator)


def _contrast(images: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    return _each(_functional().adjust_contrast, images, severity, generator)


def _each(
    adjust: Callable[[Tensor, float], Tensor],
    images: Tensor,
    severity: float,
    generator: torch.Generator,
) -> Tensor:
    """Half of the images by more, half by less."""
    up = torch.rand(len(images), generator=generator) < 0.5
    adjusted = adjust(images, 1 - _FACTOR * severity)
    adjusted[up] = adjust(images[up], 1 + _FACTOR * severity)
    return adjusted


def _blur(images: Tensor, severity: float, _: torch.Generator) -> Tensor:
    sigma = _BLUR * severity * min(images.shape[2:])
    reach = min(2 * round(3 * sigma) + 1, 2 * (min(images.shape[2:]) // 2) - 1)
    blurred: Tensor = _functional().gaussian_blur(images, [max(3, reach)] * 2, [sigma] * 2)
    return blurred


def _noise(images: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(images.shape, generator=generator) * (_NOISE * severity)
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def _functional() -> Any:
    load()
    return importlib.import_module("torchvision.transforms.v2.functional")
