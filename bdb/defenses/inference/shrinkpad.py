"""ShrinkPad: a trigger that is smaller, and somewhere else, is no trigger."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, pad

from bdb.defenses.base import DefenderView, Inference, Outcome
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier, Wrapper, wrapper
from bdb.registry import register
from bdb.training import seeds


@register("shrinkpad")
class ShrinkPad(Inference):
    """Shrink every input, put it anywhere on a black canvas, and classify that.

    Against triggers that hang on their place: a trigger of the whole image only shrinks, and one
    that was trained under random crops works wherever it is.

    Differs: where an image is put is drawn for each one from its pixels, not once for a batch.
    """

    paper: ClassVar[Paper] = Paper(
        title="Backdoor Attack in the Physical World",
        authors="Li, Zhai, Jiang, Li, Xia",
        venue="ICLR Workshop",
        year=2021,
        url="https://arxiv.org/abs/2104.02361",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model"})

    shrink: int = Field(4, ge=1, description="pixels by which each side gets shorter")

    def run(self, view: DefenderView) -> Outcome:
        """Put the transform around the suspect.

        Raises:
            ParamsError: nothing is left of images so small.
        """
        height, width = view.data.shape[1:]
        if self.shrink >= min(height, width):
            raise ParamsError(f"shrink: {self.shrink} leaves nothing of {height} x {width} pixels")
        seed = seeds.derive(view.seed, "place")
        return Outcome(model=models.wrap(view.model, "shrink_pad", shrink=self.shrink, seed=seed))


@wrapper("shrink_pad")
class ShrinkPadded(Wrapper):
    """Shows the inner model each image smaller, on black, at a place drawn from its pixels."""

    def __init__(self, inner: Classifier, shrink: int, seed: int) -> None:
        super().__init__(inner)
        self.shrink = shrink
        self.seed = seed

    def before(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W, of the same shape."""
        height, width = (side - self.shrink for side in images.shape[2:])
        small = interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
        draws = seeds.uniform_by_content(images, 2, self.seed)
        offsets = (draws * (self.shrink + 1)).long()
        return place(small, offsets, self.shrink)


def place(small: Tensor, offsets: Tensor, room: int) -> Tensor:
    """Images on black canvases that are larger by so many pixels.

    Args:
        small: N x C x h x w.
        offsets: int64, N x 2, in [0, room]: rows above and columns to the left of each image.
        room: what the canvas has more, in both directions.

    Returns:
        N x C x (h + room) x (w + room).
    """
    count, channels, height, width = small.shape
    framed = pad(small, [room] * 4)
    first = room - offsets
    rows = first[:, :1] + torch.arange(height + room, device=small.device)
    columns = first[:, 1:] + torch.arange(width + room, device=small.device)
    numbers = torch.arange(count, device=small.device)[:, None, None, None]
    depth = torch.arange(channels, device=small.device)[:, None, None]
    return framed[numbers, depth, rows[:, None, :, None], columns[:, None, None, :]]
