"""The user's own images, whatever holds them: their classes, and which of them are for testing."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch
from pydantic import Field

from bdb import layout
from bdb.console import say
from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.datasets.raw_files import Source
from bdb.errors import DataError, printable, short
from bdb.jobs import runcache
from bdb.jobs.raw import DEPTH
from bdb.training import seeds

FORMATS = ("PNG", "JPEG")
# What people call the parts of a split, in small letters.
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
# Where a DVC cache has its objects, in folders of two letters.
_OBJECTS = ("files", "md5")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
Part = TypeVar("Part")


@dataclass(frozen=True)
class Table:
    """Images of the user's and the class of each.

    Attributes:
        where: they come from, for messages.
        labels: the name of each image's class.
        images: in the same order; read when they are asked for, one after the other.
        classes: all names in their order, where the user has said it.
    """

    where: str
    labels: list[str]
    images: Iterable[Source]
    classes: tuple[str, ...] | None = None


class OwnImages(Dataset):
    """Images of any size and number, resized one at a time: they need not fit into the memory."""

    raw_field: ClassVar[str | None] = "path"

    path: str
    size: int = Field(32, ge=8, le=1024, description="side that images are resized to, in pixels")
    test_share: float = Field(
        0.2, ge=0.01, le=0.5, description="share kept for testing if there is no train and test"
    )
    grey_bits: int = Field(
        16, ge=8, le=16, description="bits that count in grey images of 16 bits per pixel"
    )

    def tables(self, top: Path) -> tuple[Table, Table | None]:
        """The training images, and those for testing; without these a share is drawn.

        Args:
            top: what `path` leads to.

        Raises:
            DataError: a file will not do; the message names it.
        """
        raise NotImplementedError

    def read(self, root: Path) -> RawData:
        """Read, resize and split the images; those of a class keep their order.

        Raises:
            DataError: a folder or file will not do; the message names it.
            ParamsError: the path begins with an unknown user.
        """
        top = root / layout.expand(self.path)
        try:
            return self._read(*self.tables(top))
        except OSError as error:
            raise DataError(
                f"{error.filename or str(top)!r} cannot be read ({error.strerror or error}); "
                "allow it, or remove it"
            ) from error

    def _read(self, train: Table, test: Table | None) -> RawData:
        """Decode both splits in one go: whether 16 bits are meant shows in all of them."""
        classes = class_names(train, test)
        numbers = {name: number for number, name in enumerate(classes)}
        names = train.labels + (test.labels if test else [])
        labels = np.array([numbers[name] for name in names], dtype=np.int64)
        if test:
            tested = np.arange(len(names)) >= len(train.labels)
        else:
            tested = self._drawn(labels, classes)
        first = int((~tested).sum())
        places = np.where(tested, first + tested.cumsum() - 1, (~tested).cumsum() - 1)
        sources = chain(train.images, test.images if test else ())
        images = raw_files.decode(sources, places.tolist(), self.size, FORMATS, self.grey_bits)
        return RawData(
            ImageSet.whole(images[:first], torch.from_numpy(labels[~tested])),
            ImageSet.whole(images[first:], torch.from_numpy(labels[tested])),
            classes,
        )

    def _drawn(self, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
        """Test images of every class, the same ones whatever holds them: bool, N."""
        tested = np.zeros(len(labels), dtype=bool)
        for number, name in enumerate(classes):
            members = np.flatnonzero(labels == number)
            if len(members) < 2:
                raise DataError(
                    f"class {name!r} has {len(members) or 'no'} image; training and testing need "
                    "two"
                )
            count = max(1, round(self.test_share * len(members)))
            rng = seeds.numpy_generator(0, "folder", "test", name)
            tested[members[rng.choice(len(members), count, replace=False)]] = True
        return tested


def class_names(train: Table, test: Table | None) -> tuple[str, ...]:
    """The names of all classes; without an order of the user's, by number or by alphabet.

    Raises:
        DataError: there are fewer than two, or one has no training images.
    """
    found = set(train.labels)
    if test and (stray := sorted(set(test.labels) - found)):
        raise DataError(
            f"{test.where} has class {short(stray[0])} and {train.where} has not; add it"
        )
    if train.classes is not None:
        return train.classes
    if len(found) < 2:
        raise DataError(f"{train.where} needs two or more classes, and has {len(found)}")
    if all(_INTEGER.fullmatch(name) for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def named(labels: Iterable[object], where: str) -> list[str]:
    """The class of each row, by a name that can be shown.

    Raises:
        DataError: a label is missing or no name, or two of them look alike.
    """
    shown: dict[object, str] = {}
    names = []
    for row, label in enumerate(labels):
        if label not in shown:
            if isinstance(label, (bool, float, bytes)) or label is None or not str(label):
                raise DataError(f"{where}: row {row}: label {short(label)} is no text or integer")
            shown[label] = printable(nfc(str(label)))
        names.append(shown[label])
    if len(set(shown.values())) < len(shown):
        alike = next(name for name in shown.values() if list(shown.values()).count(name) > 1)
        raise DataError(f"{where}: labels {short(alike)} cannot be told apart; rename one")
    return names


def testing(found: Mapping[str | None, Part]) -> tuple[Part | None, Part | None]:
    """What is for testing and what is left out: validation is the one if there is no test."""
    test, val = found.get("test"), found.get("val")
    return (val, None) if test is None else (test, val)


def held_out(found: Mapping[str | None, Part], where: Path) -> Part | None:
    """What is for testing; the log has it if that is not plain."""
    test, left_out = testing(found)
    if left_out is not None:
        say(f"{printable(str(where))}: validation is left out, since there is a test set")
    elif test is not None and "test" not in found:
        say(f"{printable(str(where))}: validation is taken for the test set, which is missing")
    return test


def parts(top: Path, suffix: str) -> tuple[list[Path], list[Path] | None]:
    """The files for training, and for testing: called train... and test..., or all of one set.

    Args:
        top: a file; or a folder that holds some, or whose folder `data` does.
        suffix: that they end with.

    Raises:
        DataError: there is none, or it is not clear what is what.
    """
    if top.is_file():
        return [top], None
    found = _listed(top, suffix) or _listed(top / "data", suffix)
    if not found:
        raise DataError(
            f"{str(top)!r} is no file and holds no {suffix} files; the data set's `path` should "
            "lead to one, or to a folder of them"
        )
    roles: dict[str | None, list[Path]] = {}
    for path in found:
        roles.setdefault(_role(path), []).append(path)
    if set(roles) == {None}:
        return found, None
    if None in roles or "train" not in roles:
        names = ", ".join(printable(path.name) for path in found[:5])
        raise DataError(
            f"{str(top)!r} holds {names}, which is not clear; expected is one set, or files "
            f"called train...{suffix} and test...{suffix} (or val...)"
        )
    return roles["train"], held_out(roles, top)


def _listed(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        return []
    entries = sorted(folder.iterdir(), key=lambda entry: nfc(entry.name))
    return [entry for entry in entries if entry.suffix.lower() == suffix and entry.name[0] != "."]


def _role(path: Path) -> str | None:
    """What a file is for: the letters its name begins with say it, if they do."""
    word = re.match("[a-z]*", path.name.lower())
    return ROLES.get(word[0]) if word else None


class Fence:
    """Which files may be read: those in the user's folder, and what `dvc add` made links of."""

    def __init__(self, top: Path) -> None:
        self.top = top

    @cached_property
    def _places(self) -> list[str]:
        cache = runcache.find()
        places = (self.top, cache.objects) if cache else (self.top,)
        return [os.path.realpath(place) for place in places]

    def check(self, entry: Path) -> None:
        """See that a link leads to a file or folder that may be read.

        Raises:
            DataError: it does not.
        """
        if not entry.is_symlink():
            return
        if entry.readlink().parts[-4:-2] == _OBJECTS and not entry.exists():
            raise DataError(
                f"{str(entry)!r} is a link to what DVC's cache held, as after a clean-up or a move "
                "of the project; `dvc checkout` restores it, or `dvc pull`"
            )
        if not self._holds(entry):
            raise DataError(f"{str(entry)!r} is a link out of the folder; copy what it points to")
        if not entry.exists():
            raise DataError(f"{str(entry)!r} is a link that leads nowhere; remove it")

    def file(self, text: str, where: str) -> Path:
        """The file that a table names, by a path from the folder.

        Raises:
            DataError: it is none of the folder's files.
        """
        path = self.top / text
        self.check(path)
        if not self._holds(path):
            raise DataError(f"{where}: {short(text)} leads out of {str(self.top)!r}; copy it there")
        if len(Path(text).parts) > DEPTH + 1:
            raise DataError(f"{where}: {short(text)} lies deeper than {DEPTH} folders; move it up")
        if not path.is_file():
            raise DataError(f"{where}: {short(text)} is no file below {str(self.top)!r}")
        return path

    def _holds(self, entry: Path) -> bool:
        target = Path(os.path.realpath(entry))
        return any(target.is_relative_to(place) for place in self._places)


def nfc(name: str) -> str:
    """A name that is the same on every file system."""
    return unicodedata.normalize("NFC", name)
