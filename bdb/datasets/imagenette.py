"""Imagenette: ten classes of ImageNet that are easily told apart."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.method import Paper
from bdb.registry import register
from bdb.torchvision_ops import load

_SMALL = 160  # shorter side of the images in the smaller archive
_CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


@register("imagenette")
class Imagenette(Dataset):
    """9,469 + 3,925 photographs of 10 kinds of things, resized to a square of your choice."""

    paper: ClassVar[Paper] = Paper(
        title="Imagenette",
        authors="Howard",
        venue="fast.ai",
        year=2019,
        url="https://github.com/fastai/imagenette",
    )
    class_counts: ClassVar[tuple[int, ...]] = (963, 955, 993, 858, 941, 956, 961, 931, 951, 960)
    test_count: ClassVar[int] = 3925
    mean: ClassVar[tuple[float, ...]] = (0.485, 0.456, 0.406)
    std: ClassVar[tuple[float, ...]] = (0.229, 0.224, 0.225)

    size: int = Field(64, ge=32, le=512, description="side that images are resized to, in pixels")
    flip: bool = Field(True, description="whether training mirrors images")

    def read(self, root: Path) -> RawData:
        """Read `imagenette2-160` below `root`, or `imagenette2-320` where images shall be larger.

        They are downloaded if they are missing.
        """
        side = _SMALL if self.size <= _SMALL else 2 * _SMALL
        folder, reader = f"imagenette2-{side}", load().datasets.Imagenette
        raw_files.fetch(
            "Imagenette",
            root,
            folder,
            lambda fresh: reader(str(fresh), size=f"{side}px", download=True),
        )
        train, test = (self._split(root / folder / part) for part in ("train", "val"))
        return RawData(train, test, tuple(_CLASSES.values()))

    def _split(self, folder: Path) -> ImageSet:
        files = [raw_files.listed(folder / each, ".JPEG") for each in _CLASSES]
        paths, labels = raw_files.gather(files)
        return ImageSet.whole(raw_files.decode_all(paths, self.size, ("JPEG",)), labels)
