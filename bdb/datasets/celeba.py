"""CelebA: faces, in eight classes that three attributes make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.errors import DataError
from bdb.method import Paper
from bdb.registry import register
from bdb.torchvision_ops import load

_FOLDER = "celeba"
_ATTRIBUTES = ("Heavy_Makeup", "Smiling", "Mouth_Slightly_Open")  # first is worth most
_PARTS = {"0": "train", "1": "validation", "2": "test"}


@register("celeba")
class CelebA(Dataset):
    """162,770 + 19,962 faces: made up, smiling, mouth open, or not; resized to 3x64x64."""

    paper: ClassVar[Paper] = Paper(
        title="Deep Learning Face Attributes in the Wild",
        authors="Liu, Luo, Wang, Tang",
        venue="ICCV",
        year=2015,
        url="https://arxiv.org/abs/1411.7766",
    )
    train_count: ClassVar[int] = 162_770
    test_count: ClassVar[int] = 19_962
    mean: ClassVar[tuple[float, ...]] = (0.0, 0.0, 0.0)
    std: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0)

    size: int = Field(64, ge=32, le=256, description="side that images are resized to, in pixels")

    def read(self, root: Path) -> RawData:
        """Read `celeba` below `root`: `img_align_celeba`, and the lists of attributes and parts.

        It is downloaded if it is missing. The validation part is not used.
        """
        raw_files.fetch(
            "CelebA",
            root,
            _FOLDER,
            lambda fresh: load().datasets.CelebA(str(fresh), download=True),
        )
        top = root / _FOLDER
        labels, parts = _labels(top / "list_attr_celeba.txt"), _parts(top)
        train, test = (self._split(top, labels, parts, part) for part in ("train", "test"))
        return RawData(train, test, _names())

    def _split(
        self, top: Path, labels: Mapping[str, int], parts: Mapping[str, str], part: str
    ) -> ImageSet:
        names = [name for name, its in parts.items() if its == part]
        unknown = [name for name in names if name not in labels]
        if unknown:
            raise DataError(f"{top / 'list_attr_celeba.txt'} has no attributes of {unknown[0]}")
        paths = [top / "img_align_celeba" / name for name in names]
        images = raw_files.decode_all(paths, self.size, ("JPEG",))
        given = torch.tensor([labels[name] for name in names], dtype=torch.int64)
        return ImageSet.whole(images, given)


def _labels(path: Path) -> dict[str, int]:
    """The class of every file: a line has the count, one the names, and one each file's -1 and 1.

    Raises:
        DataError: a line is of another form.
    """
    rows = [line.split() for line in raw_files.lines(path)]
    header = rows[1] if len(rows) > 1 else []
    missing = [name for name in _ATTRIBUTES if name not in header]
    if missing:
        raise DataError(f"{path} has no attribute {missing[0]}; put the official list there")
    wrong = [row for row in rows[2:] if len(row) != len(header) + 1]
    if wrong:
        raise DataError(f"{path}: {wrong[0][0]} has not as many values as there are attributes")
    places = [header.index(name) + 1 for name in _ATTRIBUTES]
    return {
        row[0]: sum((row[place] == "1") << (2 - i) for i, place in enumerate(places))
        for row in rows[2:]
    }


def _parts(top: Path) -> dict[str, str]:
    """Which part every file belongs to, in the order of the list.

    Raises:
        DataError: a line is of another form.
    """
    path = top / "list_eval_partition.txt"
    rows = [line.split() for line in raw_files.lines(path)]
    wrong = [row for row in rows if len(row) != 2 or row[1] not in _PARTS]
    if wrong:
        raise DataError(f"{path} has {wrong[0]}, not an image and 0, 1 or 2")
    return {name: _PARTS[part] for name, part in rows}


def _names() -> tuple[str, ...]:
    """Of the eight classes, each attribute or its absence."""
    words = [name.replace("_", " ").lower() for name in _ATTRIBUTES]
    return tuple(
        ", ".join(word if label >> (2 - i) & 1 else f"no {word}" for i, word in enumerate(words))
        for label in range(8)
    )
