"""Blocks in a row, of which the first changes the shape."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Block = Callable[[int, int, int], nn.Module]


def stack(block: Block, depth: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """So many blocks of (inputs, outputs, stride): one that widens and strides, then equals."""
    first = block(inputs, outputs, stride)
    return nn.Sequential(first, *(block(outputs, outputs, 1) for _ in range(1, depth)))
