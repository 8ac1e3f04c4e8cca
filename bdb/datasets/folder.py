"""The user's own images: a folder for every class."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field

from bdb import layout
from bdb.console import say
from bdb.datasets import raw_files
from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.errors import DataError, printable
from bdb.jobs import runcache
from bdb.registry import register
from bdb.training import seeds

_FORMATS = ("PNG", "JPEG")
_SUFFIXES = {".png", ".jpg", ".jpeg"}
# Images that are not read: leaving them out could lose half of a data set.
_REFUSED = {".avif", ".bmp", ".gif", ".heic", ".pgm", ".ppm", ".svg", ".tif", ".tiff", ".webp"}
# What people call the folders of a split, in small letters.
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
_EXPECTED = (
    "expected is a folder of images per class, or train/ and test/ (or val/) with such folders"
)
_NAMED = 5
# Where a DVC cache has its objects, in folders of two letters.
_OBJECTS = ("files", "md5")

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
    grey_bits: int = Field(
        16, ge=8, le=16, description="bits that count in grey images of 16 bits per pixel"
    )

    def read(self, root: Path) -> RawData:
        """Read the class folders; classes and images are in the order of their names.

        Hidden files and files that are not images are left out, and named in the log. Links that
        lead out of the folder, images of other formats, damaged and over-large ones are refused.

        Raises:
            DataError: a folder or file will not do; the message names it.
            ParamsError: the path begins with an unknown user.
        """
        tree = _Tree(root / layout.expand(self.path))
        try:
            raw = self._read(tree)
        except OSError as error:
            raise DataError(
                f"{error.filename!r} cannot be read ({error.strerror}); allow it, or remove it"
            ) from error
        tree.tell()
        return raw

    def _read(self, tree: _Tree) -> RawData:
        train, test = tree.splits()
        classes = tree.classes(train)
        if test is None:
            return self._raw(*self._part(classes))
        tested = tree.classes(test)
        if stray := sorted(tested.keys() - classes.keys()):
            raise DataError(
                f"{str(tree.top)!r} has {stray[0]!r} in {test.name}/ but not in {train.name}/; "
                "add it"
            )
        return self._raw(classes, tested)

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
        """Decode both splits in one go: whether 16 bits are meant shows in all of them."""
        names = list(train)
        paths, labels = _flat(train, names)
        test_paths, test_labels = _flat(test, names)
        images = raw_files.decode_all([*paths, *test_paths], self.size, _FORMATS, self.grey_bits)
        return RawData(
            ImageSet.whole(images[: len(paths)], labels),
            ImageSet.whole(images[len(paths) :], test_labels),
            tuple(names),
        )


@dataclass
class _Tree:
    """What lies below the user's folder, and what of it is left out."""

    top: Path
    left_out: list[Path] = field(default_factory=list)

    def tell(self) -> None:
        """Name what was left out, once."""
        if self.left_out:
            names = [printable(str(path.relative_to(self.top))) for path in sorted(self.left_out)]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            say(
                f"{printable(str(self.top))}: left out, since hidden or no image of a class: "
                f"{', '.join(names[:_NAMED])}{more}"
            )

    def splits(self) -> tuple[Path, Path | None]:
        """The folders of the class folders: for training, and for testing if there is one.

        A folder of a split holds folders, and a class holds images: a class may be called `train`.
        """
        entries = self.entries(self.top)
        folders = [entry for entry in entries if entry.is_dir()]
        holders = [folder for folder in folders if self._holds_folders(folder)]
        roles = [_ROLES.get(folder.name.lower()) for folder in holders]
        if not any(roles):
            return self.top, None
        found = dict(zip(roles, holders, strict=True))
        is_clear = "train" in found and len(found) == len(folders) and None not in found
        if not is_clear:
            names = ", ".join(f"{printable(folder.name)}/" for folder in folders)
            raise DataError(f"{str(self.top)!r} holds {names}, which is not clear; {_EXPECTED}")
        self.left_out += [entry for entry in entries if not entry.is_dir()]
        return found["train"], self._test(found)

    def _test(self, found: dict[str | None, Path]) -> Path | None:
        """The test folder; a validation folder takes its place, or is left out beside it."""
        test, val = found.get("test"), found.get("val")
        if test is None and val is not None:
            say(f"{printable(str(val))}: taken for the test set, since there is no test/")
        elif val is not None:
            self.left_out.append(val)
        return test or val

    def _holds_folders(self, folder: Path) -> bool:
        entries = self.entries(folder)
        is_image = [entry.suffix.lower() in _SUFFIXES | _REFUSED for entry in entries]
        return not any(is_image) and any(entry.is_dir() for entry in entries)

    def classes(self, folder: Path) -> Classes:
        """The images of every class folder in a folder."""
        classes: Classes = {}
        for entry in self.entries(folder):
            if not entry.is_dir():
                self.left_out.append(entry)
                continue
            name = printable(_nfc(entry))
            if name in classes:
                raise DataError(f"{str(entry)!r} has a name that cannot be told apart; rename it")
            classes[name] = self._images(entry)
        if len(classes) < 2:
            raise DataError(
                f"{str(folder)!r} needs two or more class folders, and has {len(classes)}"
            )
        return classes

    def _images(self, folder: Path) -> list[Path]:
        images = []
        for entry in self.entries(folder):
            suffix = entry.suffix.lower()
            if entry.is_dir():
                raise DataError(
                    f"{str(entry)!r} is a folder within a class; put its images beside it"
                )
            if suffix in _REFUSED:
                raise DataError(f"{str(entry)!r} is neither PNG nor JPEG; convert or remove it")
            if suffix not in _SUFFIXES:
                self.left_out.append(entry)
                continue
            if not entry.is_file():
                raise DataError(f"{str(entry)!r} is not a file; replace or remove it")
            images.append(entry)
        if not images:
            raise DataError(
                f"{str(folder)!r} holds no PNG or JPEG; add images or remove the folder"
            )
        return images

    def entries(self, folder: Path) -> list[Path]:
        """What lies in a folder and is not hidden, by name; what is hidden is noted as left out."""
        try:
            entries = sorted(folder.iterdir(), key=_nfc)
        except OSError as error:
            raise DataError(
                f"{str(folder)!r} is not a folder that can be read ({error.strerror}); "
                "the data set's `path` should lead to class folders"
            ) from error
        hidden = [entry for entry in entries if entry.name[0] == "."]
        self.left_out += [entry for entry in hidden if entry not in self.left_out]
        shown = [entry for entry in entries if entry.name[0] != "."]
        for entry in shown:
            self._check_link(entry)
        return shown

    @cached_property
    def _places(self) -> list[str]:
        """Where links may lead: within the folder, and to what `dvc add` made links of."""
        cache = runcache.find()
        places = (self.top, cache.objects) if cache else (self.top,)
        return [os.path.realpath(place) for place in places]

    def _check_link(self, entry: Path) -> None:
        if not entry.is_symlink():
            return
        if entry.readlink().parts[-4:-2] == _OBJECTS and not entry.exists():
            raise DataError(
                f"{str(entry)!r} is a link to what DVC's cache held, as after a clean-up or a move "
                "of the project; `dvc checkout` restores it, or `dvc pull`"
            )
        target = Path(os.path.realpath(entry))
        if not any(target.is_relative_to(place) for place in self._places):
            raise DataError(f"{str(entry)!r} is a link out of the folder; copy what it points to")
        if not entry.exists():
            raise DataError(f"{str(entry)!r} is a link that leads nowhere; remove it")


def _flat(classes: Classes, names: list[str]) -> tuple[list[Path], torch.Tensor]:
    """Every path, and its label: the class's place among the names."""
    pairs = [(path, names.index(name)) for name, paths in classes.items() for path in paths]
    return [path for path, _ in pairs], torch.tensor([label for _, label in pairs])


def _nfc(path: Path) -> str:
    """A name that is the same on every file system."""
    return unicodedata.normalize("NFC", path.name)
