"""GTSRB: German traffic signs, read by torchvision and resized to 32 x 32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.errors import DataError
from bdb.method import Paper
from bdb.registry import register
from bdb.torchvision_ops import load

_FOLDER = "gtsrb"
_SIZE = 32
# In the order of the official class folders, 00000 to 00042.
_CLASSES = tuple(
    """limit 20, limit 30, limit 50, limit 60, limit 70, limit 80, end of limit 80, limit 100,
    limit 120, no overtaking, no overtaking by trucks, priority at next crossing, priority road,
    give way, stop, no vehicles, no trucks, no entry, danger, bend left, bend right, double bend,
    uneven road, slippery road, road narrows, road works, traffic lights, pedestrians, children,
    cyclists, ice, wild animals, end of all limits, turn right, turn left, straight on,
    straight on or right, straight on or left, keep right, keep left, roundabout,
    end of no overtaking, end of no overtaking by trucks""".replace("\n    ", " ").split(", ")
)


@register("gtsrb")
class Gtsrb(Dataset):
    """39,209 + 12,630 photographs of 43 traffic signs, resized to 3x32x32."""

    paper: ClassVar[Paper] = Paper(
        title="The German Traffic Sign Recognition Benchmark",
        authors="Stallkamp, Schlipsing, Salmen, Igel",
        venue="IJCNN",
        year=2011,
        url="https://doi.org/10.1109/IJCNN.2011.6033395",
    )
    # fmt: off
    class_counts: ClassVar[tuple[int, ...]] = (
        210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780,
        630, 420, 1110, 1200, 210, 360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780,
        240, 689, 420, 1200, 390, 210, 2070, 300, 360, 240, 240,
    )
    # fmt: on
    test_count: ClassVar[int] = 12_630
    side: ClassVar[int] = 32
    mean: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    std: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0)
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"epochs": 50}}

    def read(self, root: Path) -> RawData:
        """Read `gtsrb` below `root`, downloading it if it is missing."""
        raw_files.fetch("GTSRB", root, _FOLDER, _download)
        return RawData(_read_split(root, "train"), _read_split(root, "test"), _CLASSES)


def _download(fresh: Path) -> None:
    for split in ("train", "test"):
        load().datasets.GTSRB(str(fresh), split, download=True)
    for archive in (fresh / _FOLDER).glob("*.zip"):
        archive.unlink()


def _read_split(root: Path, split: str) -> ImageSet:
    try:
        samples = load().datasets.GTSRB(str(root), split)._samples
    except (RuntimeError, OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{root / _FOLDER}: the {split} split is incomplete ({raw_files.reason(error)}); "
            "remove the folder to download it anew"
        ) from error
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    # Class folders are numbered as they are found: one missing would move all that follow.
    if set(labels.tolist()) != set(range(len(_CLASSES))):
        raise DataError(
            f"{root / _FOLDER}: the labels of the {split} split are not 0 to {len(_CLASSES) - 1}; "
            "remove the folder to download it anew"
        )
    paths = [Path(path) for path, _ in samples]
    return ImageSet.whole(raw_files.decode_all(paths, _SIZE, ("PPM",)), labels)
