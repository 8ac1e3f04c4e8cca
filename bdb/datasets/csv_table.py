"""The user's own images: files anywhere in a folder, and a CSV that says the class of each."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from bdb.datasets.own import Fence, OwnImages, Table, named, parts
from bdb.datasets.raw_files import Source, reason
from bdb.errors import DataError, short
from bdb.registry import register


@register("csv")
class CsvTable(OwnImages):
    """Your own PNG and JPEG images: a CSV of their paths and labels, or train.csv and test.csv.

    Paths are as seen from the folder that holds the CSV, and lead to files in it. The first line
    names the columns; more than the two are allowed.
    """

    path: str = Field(
        "csv",
        min_length=1,
        description="folder that holds the images and a CSV, from the raw data's root",
    )
    image_column: str = Field("path", min_length=1, description="column of the images' paths")
    label_column: str = Field("label", min_length=1, description="column of the classes' names")

    def tables(self, top: Path) -> tuple[Table, Table | None]:
        """Read the lines; images are in their order, classes in that of number or alphabet.

        Raises:
            DataError: a file or line will not do; the message names it.
        """
        if top.is_file():
            raise DataError(
                f"{str(top)!r} is a file; the data set's `path` should lead to its folder, so that "
                "a changed image is noticed"
            )
        train, test = parts(top, ".csv")
        return self._table(top, train), self._table(top, test) if test else None

    def _table(self, top: Path, files: list[Path]) -> Table:
        lines = [line for file in files for line in self._lines(file)]
        where, fence = f"{str(files[0])!r}", Fence(top)
        images = [(fence.file(text, place), place) for place, text, _ in lines]
        sources = (Source(f"{path} ({place})", path) for path, place in images)
        return Table(where, named((label for *_, label in lines), where), sources)

    def _lines(self, file: Path) -> Iterator[tuple[str, str, str]]:
        """Of every line: where it stands, the path, and the label."""
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                rows = csv.DictReader(opened, strict=True)
                for column in (self.image_column, self.label_column):
                    if column not in (rows.fieldnames or ()):
                        found = short(", ".join(rows.fieldnames or ()))
                        raise DataError(f"{str(file)!r} has no column {column!r}; it has {found}")
                for row in rows:
                    place = f"{file.name}, line {rows.line_num}"
                    path, label = row[self.image_column], row[self.label_column]
                    if not path or not label:
                        raise DataError(f"{str(file)!r}: {place}: path or label is missing")
                    yield place, path, label
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"{str(file)!r} cannot be read as CSV in UTF-8 ({reason(error)}); save it anew"
            ) from error
