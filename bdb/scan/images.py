"""The user's own images as the model takes them, under the numbers of its classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bdb import registry
from bdb.datasets import foreign, own, raw_files
from bdb.datasets.base import DataSpec, ImageSet
from bdb.datasets.folder import SUFFIXES
from bdb.datasets.own import OwnImages
from bdb.datasets.raw_files import Source
from bdb.errors import DataError, printable, short

# Which of bdb's readers takes what ends so; folders of images are for the other one.
_READERS = {".parquet": "parquet", ".csv": "csv", ".npz": "npz"}
_LEAST = 8  # pixels a side that the readers give


@dataclass(frozen=True)
class Images:
    """Images, and where each came from.

    Attributes:
        names: of each, for messages.
        images: in the model's shape, labels as its class numbers.
    """

    names: list[str]
    images: ImageSet


def labelled(path: Path, data: DataSpec) -> Images:
    """Every image of a data set of the user's: a folder per class, Parquet, CSV or .npz.

    Classes go by the model's names or numbers; if they have others, by their order, as they do for
    whoever trained on such folders.

    Raises:
        DataError: they cannot be read, or are of other classes.
    """
    reader = _reader(path, max(_LEAST, *data.shape[1:]))
    try:
        tables = [table for table in reader.tables(path) if table]
        names: list[str] = []
        sources = (source for table in tables for source in table.images)
        labels = [label for table in tables for label in table.labels]
        pixels = raw_files.decode(
            _noted(sources, names), range(len(labels)), reader.size, own.FORMATS
        )
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    classes = own.class_names(tables[0], tables[1] if len(tables) > 1 else None)
    numbers = dict(zip(classes, _numbers(path, classes, data), strict=True))
    known = torch.tensor([numbers[label] for label in labels])
    return Images(names, foreign.reshape(ImageSet.whole(pixels, known), data.shape))


def unlabelled(path: Path, data: DataSpec) -> tuple[list[str], Tensor]:
    """Every PNG and JPEG file in a folder and below, by name: their names, and N x C x H x W.

    Raises:
        DataError: there is none, one cannot be read, or is no file of the folder's.
    """
    found = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{path}: no folder with PNG or JPEG files in it")
    fence = own.Fence(path)
    for each in found:
        fence.file(str(each.relative_to(path)), str(path))
    size = max(_LEAST, *data.shape[1:])
    pixels = raw_files.decode_all(found, size, own.FORMATS)
    shaped = foreign.reshape(ImageSet.whole(pixels, torch.zeros(len(found)).long()), data.shape)
    return [printable(str(each.relative_to(path))) for each in found], shaped.images


def _reader(path: Path, size: int) -> OwnImages:
    endings = {path.suffix} if path.is_file() else {each.suffix for each in path.glob("*")}
    name = next((reader for ending, reader in _READERS.items() if ending in endings), "folder")
    return cast(OwnImages, registry.get("dataset", name).make(path=str(path), size=size))


def _noted(sources: Iterator[Source], names: list[str]) -> Iterator[Source]:
    for source in sources:
        names.append(printable(source.where))
        yield source


def _numbers(path: Path, classes: tuple[str, ...], data: DataSpec) -> list[int]:
    """The model's number of each class."""
    if set(classes) <= set(data.classes):
        return [data.classes.index(name) for name in classes]
    if len(classes) != data.num_classes:
        raise DataError(
            f"{path}: {len(classes)} classes, {short(', '.join(classes))}, and the model has "
            f"{data.num_classes}; name them as it does, or have one folder for each"
        )
    return list(range(len(classes)))
