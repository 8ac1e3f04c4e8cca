"""Tiny ImageNet: 200 classes of ImageNet, 64 x 64, in the layout of the official archive."""

from __future__ import annotations

from collections import Counter
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

_FOLDER = "tiny-imagenet-200"
_URL = f"http://cs231n.stanford.edu/{_FOLDER}.zip"
_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
_SIZE = 64


@register("tiny_imagenet")
class TinyImageNet(Dataset):
    """100,000 + 10,000 photographs of 200 kinds of things, 3x64x64; the latter to validate."""

    paper: ClassVar[Paper] = Paper(
        title="Tiny ImageNet Visual Recognition Challenge",
        authors="Le, Yang",
        venue="Stanford University",
        year=2015,
        url="http://cs231n.stanford.edu/reports/2015/pdfs/yle_project.pdf",
    )
    class_counts: ClassVar[tuple[int, ...]] = (500,) * 200
    test_count: ClassVar[int] = 10_000
    side: ClassVar[int] = _SIZE
    mean: ClassVar[tuple[float, ...]] = (0.4802, 0.4481, 0.3975)
    std: ClassVar[tuple[float, ...]] = (0.2302, 0.2265, 0.2262)
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"epochs": 200}}

    def read(self, root: Path) -> RawData:
        """Read `tiny-imagenet-200` below `root`, downloading it if it is missing.

        Classes are in the order of their WordNet ids, as published.
        """
        raw_files.fetch("Tiny ImageNet", root, _FOLDER, _download)
        top = root / _FOLDER
        ids = sorted(line.strip() for line in raw_files.lines(top / "wnids.txt"))
        folders = [top / "train" / each / "images" for each in ids]
        paths, labels = raw_files.gather([raw_files.listed(each, ".JPEG") for each in folders])
        return RawData(_decode(paths, labels), _decode(*_tested(top, ids)), _names(top, ids))


def _download(fresh: Path) -> None:
    load().datasets.utils.download_and_extract_archive(_URL, str(fresh), md5=_MD5)


def _decode(paths: list[Path], labels: torch.Tensor) -> ImageSet:
    return ImageSet.whole(raw_files.decode_all(paths, _SIZE, ("JPEG",)), labels)


def _tested(top: Path, ids: list[str]) -> tuple[list[Path], torch.Tensor]:
    """The validation images and their labels: a line names a file, its class, and a box.

    Raises:
        DataError: a line does not, or names another class.
    """
    path = top / "val" / "val_annotations.txt"
    rows = [line.split("\t") for line in raw_files.lines(path)]
    wrong = [row for row in rows if len(row) < 2 or row[1] not in ids]
    if wrong:
        raise DataError(f"{path} has {wrong[0][:2]}, not an image and one of the classes")
    files = [top / "val" / "images" / row[0] for row in rows]
    return files, torch.tensor([ids.index(row[1]) for row in rows], dtype=torch.int64)


def _names(top: Path, ids: list[str]) -> tuple[str, ...]:
    """What the classes are called; the id stands beside a name that two of them have."""
    rows = [line.partition("\t") for line in raw_files.lines(top / "words.txt")]
    words = {each: names.partition(",")[0].strip() for each, _, names in rows}
    names = [words.get(each, each) for each in ids]
    counts = Counter(names)
    return tuple(
        name if counts[name] == 1 else f"{name} {each}"
        for name, each in zip(names, ids, strict=True)
    )
