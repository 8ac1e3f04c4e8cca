"""MNIST, read by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.errors import DataError
from bdb.method import Paper
from bdb.registry import register
from bdb.torchvision_ops import load

_FOLDER = "MNIST"


@register("mnist")
class Mnist(Dataset):
    """60,000 + 10,000 handwritten digits, 1x28x28."""

    paper: ClassVar[Paper] = Paper(
        title="Gradient-Based Learning Applied to Document Recognition",
        authors="LeCun, Bottou, Bengio, Haffner",
        venue="Proceedings of the IEEE",
        year=1998,
        url="https://doi.org/10.1109/5.726791",
    )
    # fmt: off
    class_counts: ClassVar[tuple[int, ...]] = (
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    )
    # fmt: on
    test_count: ClassVar[int] = 10_000
    side: ClassVar[int] = 28
    mean: ClassVar[tuple[float, ...]] = (0.1307,)
    std: ClassVar[tuple[float, ...]] = (0.3081,)

    def read(self, root: Path) -> RawData:
        """Read `MNIST/raw` below `root`, downloading it if `MNIST` is missing."""
        reader = load().datasets.MNIST
        raw_files.fetch("MNIST", root, _FOLDER, lambda fresh: reader(str(fresh), download=True))
        for name, _ in reader.resources:
            path = root / _FOLDER / "raw" / name.removesuffix(".gz")
            if not path.is_file():
                raise DataError(f"{path} is missing; put it there, or remove {root / _FOLDER}")
        return RawData(
            _read_split(reader, root, train=True),
            _read_split(reader, root, train=False),
            tuple(str(digit) for digit in range(10)),
        )


def _read_split(reader: Any, root: Path, *, train: bool) -> ImageSet:
    """One split.

    Raises:
        DataError: a file is missing or damaged, or there are not as many labels as images.
    """
    part = "train" if train else "test"
    try:
        split = reader(str(root), train=train)
        images, labels = split.data[:, None], split.targets.long()
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images, but {len(labels)} labels")
    except (RuntimeError, OSError, ValueError, KeyError, IndexError, AssertionError) as error:
        raise DataError(
            f"{root / _FOLDER}: the {part} split is damaged ({raw_files.reason(error)}); "
            "remove the folder to download it anew"
        ) from error
    if not bool(torch.isin(labels, torch.arange(10)).all()):
        raise DataError(
            f"{root / _FOLDER}: the labels of the {part} split are not 0 to 9; "
            "remove the folder to download it anew"
        )
    return ImageSet.whole(images.contiguous(), labels)
