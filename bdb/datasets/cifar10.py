"""CIFAR-10, read by torchvision, which checks the official md5 of every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.errors import DataError
from bdb.method import Paper
from bdb.registry import register
from bdb.torchvision_ops import load

TECH_REPORT = Paper(
    title="Learning Multiple Layers of Features from Tiny Images",
    authors="Krizhevsky",
    venue="University of Toronto",
    year=2009,
    url="https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
)


@register("cifar10")
class Cifar10(Dataset):
    """50,000 + 10,000 photographs of 10 kinds of things, 3x32x32."""

    paper: ClassVar[Paper] = TECH_REPORT
    class_counts: ClassVar[tuple[int, ...]] = (5000,) * 10
    test_count: ClassVar[int] = 10_000
    side: ClassVar[int] = 32
    mean: ClassVar[tuple[float, ...]] = (0.4914, 0.4822, 0.4465)
    std: ClassVar[tuple[float, ...]] = (0.2470, 0.2430, 0.2610)

    flip: bool = Field(True, description="whether training mirrors images")

    def read(self, root: Path) -> RawData:
        """Read `cifar-10-batches-py` below `root`, downloading it if it is missing."""
        return read_cifar(load().datasets.CIFAR10, "CIFAR-10", root)


def read_cifar(reader: Any, title: str, root: Path) -> RawData:
    """Read both splits with one of torchvision's two CIFAR readers.

    Raises:
        DataError: a file is missing or damaged; the message names it.
    """
    raw_files.fetch(
        title, root, reader.base_folder, lambda fresh: reader(str(fresh), download=True)
    )
    try:
        train, test = (reader(str(root), train=part) for part in (True, False))
    except (RuntimeError, OSError) as error:
        raise DataError(_blame(reader, root) or f"{title}: {raw_files.reason(error)}") from error
    return RawData(_pack(train), _pack(test), tuple(train.classes))


def _pack(split: Any) -> ImageSet:
    images = torch.from_numpy(split.data).permute(0, 3, 1, 2).contiguous()
    return ImageSet.whole(images, torch.tensor(split.targets, dtype=torch.int64))


def _blame(reader: Any, root: Path) -> str | None:
    """Which file keeps torchvision from reading, and what to do."""
    check = load().datasets.utils.check_integrity
    sums = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    for name, md5 in sums:
        path = root / reader.base_folder / name
        if not path.is_file():
            return f"{path} is missing; put it there, or remove its folder to download it anew"
        if not check(str(path), md5):
            return f"{path} is damaged (md5 is not {md5}); remove its folder to download it anew"
    return None
