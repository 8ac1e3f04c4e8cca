"""The user's own images: a folder for every class."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import Field

from bdb.console import say
from bdb.datasets.own import ROLES, Fence, OwnImages, Table, nfc, testing
from bdb.datasets.raw_files import Source
from bdb.errors import DataError, printable
from bdb.registry import register

SUFFIXES = {".png", ".jpg", ".jpeg"}
# Images that are not read: leaving them out could lose half of a data set.
_REFUSED = {".avif", ".bmp", ".gif", ".heic", ".pgm", ".ppm", ".svg", ".tif", ".tiff", ".webp"}
_EXPECTED = (
    "expected is a folder of images per class, or train/ and test/ (or val/) with such folders"
)
_NAMED = 5


@register("folder")
class Folder(OwnImages):
    """Your own PNG and JPEG images: one folder per class, or train/ and test/ with such folders."""

    path: str = Field(
        "folder", min_length=1, description="where the class folders lie, from the raw data's root"
    )

    def tables(self, top: Path) -> tuple[Table, Table | None]:
        """Read the class folders; classes and images are in the order of their names.

        Hidden files and files that are not images are left out, and named in the log. Links that
        lead out of the folder, images of other formats, damaged and over-large ones are refused.

        Raises:
            DataError: a folder or file will not do; the message names it.
        """
        tree = _Tree(top)
        train, test = tree.splits()
        tables = tree.table(train), tree.table(test) if test else None
        tree.tell()
        return tables


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
        roles = [ROLES.get(folder.name.lower()) for folder in holders]
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
        test, left_out = testing(found)
        if test and "test" not in found:
            say(f"{printable(str(test))}: taken for the test set, since there is no test/")
        self.left_out += [left_out] if left_out else []
        return test

    def _holds_folders(self, folder: Path) -> bool:
        entries = self.entries(folder)
        is_image = [entry.suffix.lower() in SUFFIXES | _REFUSED for entry in entries]
        return not any(is_image) and any(entry.is_dir() for entry in entries)

    def table(self, folder: Path) -> Table:
        """The images of every class folder in a folder."""
        classes = self._classes(folder)
        paths = [path for images in classes.values() for path in images]
        labels = [name for name, images in classes.items() for _ in images]
        sources = (Source(str(path), path) for path in paths)
        return Table(f"{str(folder)!r}", labels, sources, tuple(classes))

    def _classes(self, folder: Path) -> dict[str, list[Path]]:
        classes: dict[str, list[Path]] = {}
        for entry in self.entries(folder):
            if not entry.is_dir():
                self.left_out.append(entry)
                continue
            name = printable(nfc(entry.name))
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
            if suffix not in SUFFIXES:
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
            entries = sorted(folder.iterdir(), key=lambda entry: nfc(entry.name))
        except OSError as error:
            raise DataError(
                f"{str(folder)!r} is not a folder that can be read ({error.strerror}); "
                "the data set's `path` should lead to class folders"
            ) from error
        hidden = [entry for entry in entries if entry.name[0] == "."]
        self.left_out += [entry for entry in hidden if entry not in self.left_out]
        shown = [entry for entry in entries if entry.name[0] != "."]
        for entry in shown:
            self._fence.check(entry)
        return shown

    @cached_property
    def _fence(self) -> Fence:
        return Fence(self.top)
