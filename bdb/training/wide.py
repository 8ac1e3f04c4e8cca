"""Convolutions of small maps, several images side by side: what a CPU's matrix units are fast at.

Where the maps are a few pixels wide, oneDNN computes the gradient of a 3 x 3 convolution's weights,
and on the smallest its output too, at a tenth of what the units can do, since they are fed row by
row. So sixteen images become one wide image, with zeros between two, which is convolved as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SIDE = 16  # images: as many rows as a tile of the units has
_FEWEST = 8
_WIDEST = 8  # pixels of the output; wider maps fill the tiles by themselves
_CHANNELS = 128  # with fewer the copies take as long as what they save


class SideBySide(TorchFunctionMode):
    """While it is entered, and autocast too, `torch.conv2d` lays small maps side by side."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function, or put ours in its place."""
        if func is torch.conv2d and not kwargs and _is_slow(*args):
            images, weight, bias, stride = args[:4]
            return conv2d(images, weight, bias, _one(stride) or 1)
        return func(*args, **(kwargs or {}))


def conv2d(images: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """A 3 x 3 convolution with one pixel of padding, in bfloat16.

    Args:
        images: N x C x H x W; up to sixteen are laid side by side, as many as divide N.
        weight: K x C x 3 x 3.
        bias: K.
        stride: in both directions.

    Returns:
        N x K x H/stride x W/stride, rounded up, in channels-last order.
    """
    side, width = gcd(len(images), _SIDE), images.shape[3]
    gap = 1 + -(width + 1) % stride  # every image starts at a column that is an output's
    rows = images.bfloat16().permute(0, 2, 3, 1).unflatten(0, (-1, side)).transpose(1, 2)
    wide = functional.pad(rows, (0, 0, 0, gap)).flatten(2, 3).permute(0, 3, 1, 2)
    made = functional.conv2d(wide, weight, bias, stride, padding=1).permute(0, 2, 3, 1)
    rows = made.unflatten(2, (side, -1))[..., : -(-width // stride), :]
    return rows.transpose(1, 2).flatten(0, 1).permute(0, 3, 1, 2)


def _is_slow(
    images: Tensor,
    weight: Tensor,
    _bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Of the arguments of `torch.conv2d`."""
    step = _one(stride)
    return (
        weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= _CHANNELS
        and step is not None
        and images.shape[-1] <= _WIDEST * step
        and gcd(len(images), _SIDE) >= _FEWEST
        and _one(padding) == _one(dilation) == groups == 1
        and images.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
    )


def _one(value: Any) -> int | None:
    """The number that holds in both directions, if one does."""
    numbers = {value} if isinstance(value, int | str) else set(value)
    number = numbers.pop() if len(numbers) == 1 else None
    return number if isinstance(number, int) else None
