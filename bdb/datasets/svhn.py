"""SVHN: house numbers, read by torchvision, which checks the official md5 of both files."""

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

_FOLDER = "svhn"
_SPLITS = ("train", "test")


@register("svhn")
class Svhn(Dataset):
    """73,257 + 26,032 photographs of digits in house numbers, 3x32x32."""

    paper: ClassVar[Paper] = Paper(
        title="Reading Digits in Natural Images with Unsupervised Feature Learning",
        authors="Netzer, Wang, Coates, Bissacco, Wu, Ng",
        venue="NIPS Workshop on Deep Learning and Unsupervised Feature Learning",
        year=2011,
        url="http://ufldl.stanford.edu/housenumbers/nips2011_housenumbers.pdf",
    )
    # fmt: off
    class_counts: ClassVar[tuple[int, ...]] = (
        4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659,
    )
    # fmt: on
    test_count: ClassVar[int] = 26_032
    side: ClassVar[int] = 32
    mean: ClassVar[tuple[float, ...]] = (0.4377, 0.4438, 0.4728)
    std: ClassVar[tuple[float, ...]] = (0.1980, 0.2010, 0.1970)

    def read(self, root: Path) -> RawData:
        """Read both files in `svhn` below `root`, downloading them if the folder is missing."""
        reader, folder = load().datasets.SVHN, root / _FOLDER
        raw_files.fetch("SVHN", root, _FOLDER, lambda fresh: _download(reader, fresh / _FOLDER))
        train, test = (_read_split(reader, folder, part) for part in _SPLITS)
        return RawData(train, test, tuple(str(digit) for digit in range(10)))


def _download(reader: Any, folder: Path) -> None:
    folder.mkdir()
    for part in _SPLITS:
        reader(str(folder), part, download=True)


def _read_split(reader: Any, folder: Path, part: str) -> ImageSet:
    """One split; the file's label of a nought is 10, ours 0.

    Raises:
        DataError: the file is missing or damaged.
    """
    _, name, md5 = reader.split_list[part]
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path} is missing; put it there, or remove its folder")
    try:
        split = reader(str(folder), part)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{path} is damaged (md5 is not {md5}); remove its folder to download it anew"
        ) from error
    return ImageSet.whole(torch.from_numpy(split.data).contiguous(), torch.from_numpy(split.labels))
