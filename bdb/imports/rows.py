"""Images of one split that lie in files: which of the split they are, and under which labels."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.datasets.own import Fence
from bdb.datasets.raw_files import reason
from bdb.errors import DataError, short

_NEEDED = ("path", "index", "given_label", "true_label")
_MODES = ("L", "P", "RGB")


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        index: in the prepared split.
        given: the label under which the victim saw it; of a test image the target.
        true: the label of the image without a trigger.
        is_poison: of a training image: it carries the trigger and the target.
        is_cover: likewise, the trigger and its true label.
        is_source: of a test image: it is of a class that the trigger is meant for.
    """

    path: Path
    index: int
    given: int
    true: int
    is_poison: bool = True
    is_cover: bool = False
    is_source: bool = True


@dataclass(frozen=True)
class Rows:
    """Images of one split, ascending by index.

    Attributes:
        where: they come from, for messages.
        trained: int64: indices of all images that the victim was trained on, ascending; of test
            images, and where the source does not say, None.
    """

    where: str
    rows: tuple[Row, ...]
    trained: Tensor | None = None

    @classmethod
    def of(cls, where: str, rows: Sequence[Row], trained: Sequence[int] | None = None) -> Rows:
        """The same in order.

        Raises:
            DataError: two are of one index.
        """
        ordered = tuple(sorted(rows, key=lambda row: row.index))
        for before, after in pairwise(ordered):
            if before.index == after.index:
                raise DataError(f"{where}: index {after.index} stands twice")
        ids = None if trained is None else torch.tensor(sorted(trained), dtype=torch.int64)
        return cls(where, ordered, ids)

    def column(self, name: str) -> Tensor:
        """int64 or bool, N."""
        values = [getattr(row, name) for row in self.rows]
        return torch.tensor(values, dtype=torch.bool if name.startswith("is_") else torch.int64)

    def check(self, split: ImageSet, classes: int) -> None:
        """See that they are of this split.

        Raises:
            DataError: an index, a label or the true label of an image says that they are not.
        """
        for row in self.rows:
            if not 0 <= row.index < len(split):
                raise DataError(
                    f"{self.where}: index {row.index} is beyond the {len(split)} images there are"
                )
            if not 0 <= row.given < classes:
                raise DataError(f"{self.where}: label {row.given} is none of {classes} classes")
            label = int(split.labels[row.index])
            if row.true != label:
                raise DataError(
                    f"{self.where}: image {row.index} is of class {row.true}, and of class {label} "
                    "in the data set: another data set, or another order"
                )

    def pixels(self, shape: tuple[int, int, int]) -> Tensor:
        """uint8, N x C x H x W.

        Raises:
            DataError: a file is no PNG of this shape.
        """
        images = np.empty((len(self.rows), *shape), dtype=np.uint8)
        for place, row in zip(images, self.rows, strict=True):
            place[:] = _decoded(row.path, shape)
        return torch.from_numpy(images)


def _decoded(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    channels, height, width = shape
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            if opened.size != (width, height) or opened.mode not in _MODES:
                found = f"{opened.size[1]} x {opened.size[0]} pixels, {opened.mode}"
                raise ValueError(f"{found}; needed are {height} x {width}, 8 bits a channel")
            pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"{str(path)!r} cannot be read as PNG ({reason(error)})") from error
    return pixels.reshape(height, width, -1).transpose(2, 0, 1)


def read(path: Path, classes: Sequence[str], target: int | None) -> Rows:
    """A CSV as `bdb export set` writes it, or a folder of <true class>/<index>.png.

    Args:
        path: of either.
        classes: of the data set; a folder bears the name of a class, or its number.
        target: the label given to all images of a folder.

    Raises:
        DataError: it is neither, or not whole; the message names the file or line.
    """
    if path.is_dir():
        if target is None:
            raise DataError(f"{str(path)!r} is a folder: say the class it was given, --target")
        return Rows.of(str(path), list(_in_folder(path, classes, target)))
    rows = list(_in_table(path))
    trained = [row.index for row in rows] if any(not row.is_poison for row in rows) else None
    touched = [row for row in rows if row.is_poison or row.is_cover]
    return Rows.of(str(path), touched, trained)


def _in_folder(folder: Path, classes: Sequence[str], target: int) -> Iterator[Row]:
    numbers = {name: number for number, name in enumerate(classes)}
    fence = Fence(folder)
    for path in sorted(folder.glob("*/*.png")):
        name = path.parent.name
        label = int(name) if name.isdecimal() and name not in numbers else numbers.get(name)
        if label is None or not path.stem.isdecimal():
            raise DataError(f"{str(path)!r} is not <true class>/<index>.png")
        yield Row(fence.file(f"{name}/{path.name}", str(folder)), int(path.stem), target, label)


def _in_table(path: Path) -> Iterator[Row]:
    fence = Fence(path.parent)
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            table = csv.DictReader(opened, strict=True)
            lacking = [name for name in _NEEDED if name not in (table.fieldnames or ())]
            if lacking:
                raise DataError(f"{str(path)!r} has no column {lacking[0]!r}; `bdb export set` has")
            for row in table:
                yield _row(row, fence, f"{path.name}, line {table.line_num}")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read as CSV ({reason(error)})") from error


def _row(row: dict[str, str], fence: Fence, where: str) -> Row:
    try:
        index, given, true = (int(row[name]) for name in _NEEDED[1:])
        flags = {
            name: {"True": True, "False": False}[row[name]]
            for name in ("is_poison", "is_cover", "is_source")
            if name in row
        }
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{where}: {short(','.join(map(str, row.values())))} is no row") from None
    return Row(fence.file(row["path"] or "", where), index, given, true, **flags)
