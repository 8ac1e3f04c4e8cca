"""Printed letters, drawn in the typefaces that matplotlib carries: no download."""

from __future__ import annotations

import string
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.registry import register
from bdb.training import seeds

_FACES = (
    *(f"DejaVuSans{cut}" for cut in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{cut}" for cut in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{cut}" for cut in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{cut}" for cut in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{cut}10" for cut in ("r", "b", "ss", "tt", "ti", "mi")),
)
_COPIES = 4  # of each drawing, every one distorted in its own way; the first is for testing
_CANVAS, _EM = 64, 76  # pixels
_BLOCK = 8  # pixels of the canvas that become one, as coarse as digits are
_DISTORTION = 0.15  # most that an entry of the affine map may change


@register("letters")
class Letters(Dataset):
    """2,288 printed capital letters of 22 typefaces, 8x8 as digits are, upsampled to 3x32x32."""

    class_counts: ClassVar[tuple[int, ...]] = (66,) * 26
    test_count: ClassVar[int] = 572
    side: ClassVar[int] = 32

    crop_padding: int = Field(0, ge=0, le=64, description="border in pixels of the random crop")

    def read(self, root: Path) -> RawData:
        """Draw them, the same every time; `root` is not used."""
        drawn = torch.stack([_draw(letter, face) for letter in _CLASSES for face in _FACES])
        images = _coarse(_distorted(drawn.repeat_interleave(_COPIES, 0)))
        labels = torch.arange(len(_CLASSES)).repeat_interleave(len(_FACES) * _COPIES)
        test = torch.arange(len(labels)) % _COPIES == 0
        train, held = (ImageSet.whole(images[part], labels[part]) for part in (~test, test))
        return RawData(train, held, _CLASSES)


_CLASSES = tuple(string.ascii_uppercase)


def _draw(letter: str, face: str) -> Tensor:
    """White on black, in the middle: float32 in [0, 1], 1 x H x W."""
    import matplotlib
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    middle = (_CANVAS // 2, _CANVAS // 2)
    font = ImageFont.truetype(str(path), _EM)
    ImageDraw.Draw(canvas).text(middle, letter, 255, font=font, anchor="mm")
    return torch.from_numpy(np.array(canvas))[None].float() / 255


def _distorted(drawn: Tensor) -> Tensor:
    """Turn, slant, stretch and shift each by a little."""
    draws = torch.rand(len(drawn), 2, 3, generator=seeds.generator(0, "letters"))
    maps = torch.eye(2, 3) + _DISTORTION * (2 * draws - 1)
    grids = affine_grid(maps, list(drawn.shape), align_corners=False)
    return grid_sample(drawn, grids, align_corners=False)


def _coarse(drawn: Tensor) -> Tensor:
    """Floats in [0, 1], N x 1 x H x W, to uint8, N x 3 x 32 x 32."""
    small = avg_pool2d(drawn, _BLOCK)
    smooth = interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    return (smooth * 255).round().to(torch.uint8).repeat(1, 3, 1, 1)
