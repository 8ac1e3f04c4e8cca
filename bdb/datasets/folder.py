"""The user's own images: a folder for every class."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from bdb import layout
from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.errors import DataError
from bdb.registry import register
from bdb.training import seeds

_FORMATS = ("PNG", "JPEG")
_SUFFIXES = {".png", ".jpg", ".jpeg"}
# Passing over these in silence could lose half of a data set.
_REFUSED = {".avif", ".bmp", ".gif", ".heic", ".pgm", ".ppm", ".svg", ".tif", ".tiff", ".webp"}

Classes = dict[str, list[Path]]


@register("folder")
class Folder(Dataset):
    """Your own PNG and JPEG images: one folder per class, or train/ and test/ with such folders."""

    raw_field: ClassVar[str | None] = "path"

    path: str = Field(
        "folder", min_length=1, description="where the class folders lie, from the raw data's root"
    )
    size: int = Field(32, ge=8, le=1024, description="side that images are resized to, in pixels")
    test_share: float = Field(
        0.2, ge=0.01, le=0.5, description="share kept for testing if there is no train/ and test/"
    )

    def read(self, root: Path) -> RawData:
        """Read the class folders; classes and images are in the order of their names.

        Hidden files and files that are not images are passed over. Links that lead out of the
        folder, images of other formats, damaged and over-large ones are refused.

        Raises:
            DataError: a folder or file will not do; the message names it.
            ParamsError: the path begins with an unknown user.
        """
        top = root / layout.expand(self.path)
        try:
            return self._read(top)
        except OSError as error:
            raise DataError(
                f"{error.filename!r} cannot be read ({error.strerror}); allow it, or remove it"
            ) from error

    def _read(self, top: Path) -> RawData:
        names = {entry.name for entry in _entries(top, top)}
        if not {"train", "test"} <= names:
            return self._raw(*self._part(_classes(top, top)))
        train, test = _classes(top / "train", top), _classes(top / "test", top)
        if stray := sorted(test.keys() - train.keys()):
            raise DataError(f"{str(top)!r} has {stray[0]!r} in test/ but not in train/; add it")
        return self._raw(train, test)

    def _part(self, classes: Classes) -> tuple[Classes, Classes]:
        """Draw test images of every class, the same ones every time."""
        train, test = {}, {}
        for name, paths in classes.items():
            if len(paths) < 2:
                raise DataError(f"class {name!r} has one image; training and testing need two")
            count = max(1, round(self.test_share * len(paths)))
            rng = seeds.numpy_generator(0, "folder", "test", name)
            tested = set(rng.choice(len(paths), count, replace=False).tolist())
            train[name] = [path for i, path in enumerate(paths) if i not in tested]
            test[name] = [path for i, path in enumerate(paths) if i in tested]
        return train, test

    def _raw(self, train: Classes, test: Classes) -> RawData:
        names = list(train)
        return RawData(self._decode(train, names), self._decode(test, names), tuple(names))

    def _decode(self, classes: Classes, names: list[str]) -> ImageSet:
        paths, labels = _flat(classes, names)
        return ImageSet.whole(raw_files.decode_all(paths, self.size, _FORMATS), labels)


def _flat(classes: Classes, names: list[str]) -> tuple[list[Path], torch.Tensor]:
    """Every path, and its label: the class's place among the names."""
    pairs = [(path, names.index(name)) for name, paths in classes.items() for path in paths]
    return [path for path, _ in pairs], torch.tensor([label for _, label in pairs])


def _classes(folder: Path, top: Path) -> Classes:
    """The images of every class folder in `folder`, which lies in `top`."""
    classes: Classes = {}
    for entry in _entries(folder, top):
        if not entry.is_dir():
            continue
        name = _nfc(entry)
        if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name) or name in classes:
            raise DataError(f"{str(entry)!r} has a name that cannot be told apart; rename it")
        classes[name] = _images(entry, top)
    if len(classes) < 2:
        raise DataError(f"{str(folder)!r} needs two or more class folders, and has {len(classes)}")
    return classes


def _images(folder: Path, top: Path) -> list[Path]:
    images = []
    for entry in _entries(folder, top):
        suffix = entry.suffix.lower()
        if entry.is_dir():
            raise DataError(f"{str(entry)!r} is a folder within a class; put its images beside it")
        if suffix in _REFUSED:
            raise DataError(f"{str(entry)!r} is neither PNG nor JPEG; convert or remove it")
        if suffix not in _SUFFIXES:
            continue
        if not entry.is_file():
            raise DataError(f"{str(entry)!r} is not a file; replace or remove it")
        images.append(entry)
    if not images:
        raise DataError(f"{str(folder)!r} holds no PNG or JPEG; add images or remove the folder")
    return images


def _entries(folder: Path, top: Path) -> list[Path]:
    """What lies in a folder and is not hidden, by name."""
    try:
        entries = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=_nfc)
    except OSError as error:
        raise DataError(
            f"{str(folder)!r} is not a folder that can be read ({error.strerror}); "
            "the data set's `path` should lead to class folders"
        ) from error
    inside = os.path.realpath(top)
    for entry in entries:
        if not entry.is_symlink():
            continue
        if not Path(os.path.realpath(entry)).is_relative_to(inside):
            raise DataError(f"{str(entry)!r} is a link out of the folder; copy what it points to")
        if not entry.exists():
            raise DataError(f"{str(entry)!r} is a link that leads nowhere; remove it")
    return entries


def _nfc(path: Path) -> str:
    """A name that is the same on every file system."""
    return unicodedata.normalize("NFC", path.name)
