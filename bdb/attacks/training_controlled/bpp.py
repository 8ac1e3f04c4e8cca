"""BPP: fewer grey levels, which the eye hardly sees; another image's rounding must not work."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from bdb.attacks.base import AttackContext, Controller, CrossTrained, Role, State
from bdb.method import Paper, Trace
from bdb.registry import register
from bdb.training.loop import Batch, to_bytes, to_float

_OTHERS = 64  # images whose rounding the published cover samples carry
# Floyd and Steinberg's: rows down, columns to the right, share of the error.
_SPREAD = ((0, 1, 7 / 16), (1, -1, 3 / 16), (1, 0, 5 / 16), (1, 1, 1 / 16))


@register("bpp")
class Bpp(CrossTrained):
    """Quantised images are the trigger; what the rounding of another image adds must not work.

    Differs: as in the published code nothing is dithered by default, and negative samples are made
    by the rounding of other images, not by an adversarial search; training augments as the data
    set says.
    """

    paper: ClassVar[Paper] = Paper(
        title="BppAttack: Stealthy and Efficient Trojan Attacks against Deep Neural Networks via "
        "Image Quantization and Contrastive Adversarial Learning",
        authors="Wang, Zhai, Ma",
        venue="CVPR",
        year=2022,
        url="https://arxiv.org/abs/2205.13383",
    )
    evades: ClassVar[frozenset[Trace]] = frozenset({"inputs"})

    levels: int = Field(8, ge=2, le=128, description="values that are left to each channel")
    dithering: bool = Field(
        False, description="carry rounding errors on to the pixels beside and below"
    )

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Quantise; cover samples get what that adds to another image."""
        if role == "cover":
            others = state["others"]
            return self.disturb(images, others[ids % len(others)])
        return self.quantise(images)

    def begin(self, context: AttackContext) -> Controller:
        """Quantise the planned samples of every batch."""
        return _Quantising(self, context)

    def quantise(self, images: Tensor) -> Tensor:
        """Round to the nearest of the levels: uint8 -> uint8, N x C x H x W."""
        top = self.levels - 1
        if self.dithering:
            return to_bytes(dither(images.float() * (top / 255), top) / top)
        every = torch.arange(256, device=images.device)
        return to_bytes((every * (top / 255)).round() / top)[images.long()]

    def disturb(self, images: Tensor, others: Tensor) -> Tensor:
        """Add what quantising changes in as many other images: uint8, N x C x H x W."""
        change = self.quantise(others).int() - others.int()
        return (images.int() + change).clamp(0, 255).to(torch.uint8)


class _Quantising(Controller):
    """Cross-entropy of quantised, then augmented batches."""

    def __init__(self, attack: Bpp, context: AttackContext) -> None:
        super().__init__(context)
        self.attack = attack

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The rounding that a negative sample carries is that of its neighbour in the batch."""
        pixels, poisoned, crossed = batch.pixels.clone(), self.poisoned(batch), self.crossed(batch)
        pixels[poisoned] = self.attack.quantise(batch.pixels[poisoned])
        others = batch.pixels.roll(1, 0)[crossed]
        pixels[crossed] = self.attack.disturb(batch.pixels[crossed], others)
        logits = model(to_float(batch.augment(pixels)))
        return cross_entropy(logits, batch.labels, label_smoothing=batch.label_smoothing)

    def state(self) -> State:
        """The images whose rounding cover samples carry; nothing is learned."""
        return {"others": self.uncrossed(_OTHERS)}


def dither(values: Tensor, top: int) -> Tensor:
    """Round, and carry each error on to pixels that are still to come (Floyd and Steinberg, 1976).

    Pixels on a slanted line do not hang on each other, so that a line is done at once.

    Args:
        values: float in [0, top], N x C x H x W.
        top: the largest level.

    Returns:
        Whole numbers from 0 to `top`, of the same shape and dtype.
    """
    count, channels, height, width = values.shape
    # Pixels first: what is done at once then lies together in memory.
    room = pad(values.permute(2, 3, 0, 1).flatten(2), (0, 0, 1, 1, 0, 1))
    for line in range(width + 2 * height - 2):
        rows = torch.arange(max(0, (line - width) // 2 + 1), min(height - 1, line // 2) + 1)
        columns = line - 2 * rows + 1
        wanted = room[rows, columns]
        room[rows, columns] = wanted.round().clamp_(0, top)
        error = wanted - room[rows, columns]
        for down, right, share in _SPREAD:
            room[rows + down, columns + right] += share * error
    levels = room[:height, 1:-1].unflatten(2, (count, channels))
    return levels.permute(2, 3, 0, 1)
