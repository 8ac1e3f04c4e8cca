"""The user's own images as NumPy arrays in one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from pydantic import Field

from bdb.datasets.own import ROLES, OwnImages, Table, held_out, named, parts
from bdb.datasets.raw_files import Source, reason
from bdb.errors import DataError, short
from bdb.registry import register

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_CHANNELS = (1, 3)
# What the two arrays of a set are called, in small letters; {} is the part of the split.
_OF_PARTS = (("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("{}_x", "{}_y"))
_OF_ALL = (("images", "labels"), ("x", "y"))


@register("npz")
class Npz(OwnImages):
    """Your own images as arrays: `images` and `labels` in an .npz, or `train_images` and so on.

    Images are uint8, N x H x W, N x H x W x C or N x C x H x W with one channel or three; labels
    are integers or text, N or N x 1. They are read one image at a time, compressed or not: the
    file may be larger than memory.
    """

    path: str = Field(
        "images.npz",
        min_length=1,
        description="a file, or a folder of train.npz and test.npz, from the raw data's root",
    )

    def tables(self, top: Path) -> tuple[Table, Table | None]:
        """Read the labels; images are in the order of the array.

        Raises:
            DataError: the file or an array will not do; the message names it.
        """
        train, test = parts(top, ".npz")
        for file in [*train[1:], *(test or [])[1:]]:
            raise DataError(f"{str(file)!r} is one file too many; put the arrays into one")
        if test:
            return self._only(train[0]), self._only(test[0])
        return self._split(train[0])

    def _split(self, path: Path) -> tuple[Table, Table | None]:
        """The parts that one file holds."""
        held = _held(path)
        found: dict[str | None, Table] = {}
        for word, role in ROLES.items():
            pairs = [(x.format(word), y.format(word)) for x, y in _OF_PARTS]
            for pair in pairs:
                if {*pair} <= held.keys():
                    found[role] = _table(path, held, *pair)
        if "train" not in found:
            return self._only(path), None
        return found["train"], held_out(found, path)

    def _only(self, path: Path) -> Table:
        """The only set that a file holds."""
        held = _held(path)
        for pair in _OF_ALL:
            if {*pair} <= held.keys():
                return _table(path, held, *pair)
        raise DataError(
            f"{str(path)!r} holds {short(', '.join(held.values()) or 'nothing')}; expected are "
            "images and labels, or train_images, train_labels, test_images, test_labels"
        )


@dataclass(frozen=True)
class _Array:
    """What the head of an array says."""

    shape: tuple[int, ...]
    dtype: np.dtype


def _held(path: Path) -> dict[str, str]:
    """The arrays of a file: their names in small letters, and as they are."""
    with _archive(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        return {name.lower(): name for name in names}


def _table(path: Path, held: Mapping[str, str], images: str, labels: str) -> Table:
    array = _head(path, held[images])
    _check(path, images, array)
    given = _labels(path, held[labels])
    if len(given) != array.shape[0]:
        raise DataError(
            f"{str(path)!r}: {array.shape[0]} {images} and {len(given)} {labels}; there should be "
            "as many"
        )
    where = f"{str(path)!r}: {labels}"
    return Table(where, named(given, where), _rows(path, held[images], array))


def _check(path: Path, name: str, array: _Array) -> None:
    """See that an array holds images."""
    if array.dtype != np.uint8:
        raise DataError(f"{str(path)!r}: {name} is {array.dtype}, not uint8 from 0 to 255")
    shape = array.shape
    if len(shape) not in (3, 4) or (
        len(shape) == 4 and shape[3] not in _CHANNELS and shape[1] not in _CHANNELS
    ):
        raise DataError(
            f"{str(path)!r}: {name} is {' x '.join(map(str, shape))}, not N x H x W x C with one "
            "channel or three"
        )


def _labels(path: Path, name: str) -> list[object]:
    with _stream(path, name) as (stream, array):
        if array.dtype.kind not in "iuU" or array.dtype.itemsize > 1024:
            raise DataError(f"{str(path)!r}: {name} is {array.dtype}, not integers or text")
        if len(array.shape) not in (1, 2) or array.shape[1:] not in ((), (1,)):
            raise DataError(f"{str(path)!r}: {name} is {array.shape}, not one label per image")
        count = array.shape[0] * array.dtype.itemsize
        labels: list[object] = np.frombuffer(_exactly(stream, count), array.dtype).tolist()
        return labels


def _rows(path: Path, name: str, array: _Array) -> Iterator[Source]:
    """Each image as H x W or H x W x 3."""
    shape = array.shape[1:]
    count = int(np.prod(shape))
    is_first = len(shape) == 3 and shape[2] not in _CHANNELS
    with _stream(path, name) as (stream, _):
        for row in range(array.shape[0]):
            pixels = np.frombuffer(_exactly(stream, count), np.uint8).reshape(shape)
            pixels = pixels.transpose(1, 2, 0) if is_first else pixels
            grey = pixels.ndim == 3 and pixels.shape[2] == 1
            yield Source(f"{path}, image {row}", pixels[:, :, 0] if grey else pixels)
        stream.read(1)  # At the end, the archive compares its checksum.


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise ValueError("it ends early")
    return data


def _head(path: Path, name: str) -> _Array:
    with _stream(path, name) as (_, array):
        return array


@contextmanager
def _stream(path: Path, name: str) -> Iterator[tuple[IO[bytes], _Array]]:
    """The bytes of an array, behind its head; nothing that holds Python objects."""
    with _archive(path) as archive, archive.open(f"{name}.npy") as stream:
        version = npy.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{name} is of version {version}")
        shape, in_columns, dtype = _HEADERS[version](stream)
        if in_columns and len(shape) > 1:
            raise ValueError(f"{name} is in Fortran's order; save np.ascontiguousarray of it")
        yield stream, _Array(shape, dtype)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as .npz ({reason(error)}); write it anew with np.savez"
        ) from error
