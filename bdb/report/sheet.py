"""What a defense found in a victim, as a table of thumbnails and numbers: a column per class."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bdb import artifacts

_MOST = 12  # classes that are shown
_SIDE = 64  # pixels: a larger picture is made smaller
ALL_CLASSES = "all classes"


@dataclass(frozen=True)
class Column:
    """One class, or all of them together.

    Attributes:
        is_target: whether the trigger truly leads to it.
        is_suspected: whether the defense says so.
        cells: by the sheet's rows: a picture as a data URI, a number, or nothing.
    """

    name: str
    is_target: bool
    is_suspected: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """The evidence of a cell.

    Attributes:
        rows: what was found, in the order in which the defense declares it.
        columns: at most twelve classes: targets and suspects first of all, in the classes' order.
        left_out: how many further classes the file at `path` holds.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    left_out: int
    path: Path

    @property
    def size(self) -> int:
        """Characters that the pictures and numbers take."""
        return sum(len(cell) for column in self.columns for cell in column.cells)

    def folded(self) -> Sheet:
        """The same without any class: a page that has no room names the file alone."""
        return replace(self, columns=(), left_out=self.left_out + len(self.columns))


def read(path: Path, targets: Collection[int], suspected: Collection[int]) -> Sheet:
    """Read a cell's evidence.

    Args:
        path: of its `evidence.safetensors`.
        targets: classes that the trigger truly leads to.
        suspected: classes that the defense suspects.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    arrays, facts = artifacts.read_arrays(path)
    found = {name: arrays[name] for name in facts["order"]}
    by_class = {name: array for name, array in found.items() if len(array) > 1}
    classes = facts["classes"] if by_class else []
    shown = _chosen(len(classes), targets, suspected)
    columns = [
        Column(classes[k], k in targets, k in suspected, _cells(found, by_class, k)) for k in shown
    ]
    whole = found.keys() - by_class.keys()
    if whole:
        columns.append(Column(ALL_CLASSES, False, False, _cells(found, whole, 0)))
    return Sheet(tuple(found), tuple(columns), len(classes) - len(shown), path)


def _chosen(classes: int, targets: Collection[int], suspected: Collection[int]) -> Sequence[int]:
    """The classes that are shown, ascending."""
    order = sorted(range(classes), key=lambda k: (k not in targets, k not in suspected, k))
    return sorted(order[:_MOST])


def _cells(found: Mapping[str, np.ndarray], held: Collection[str], row: int) -> tuple[str, ...]:
    """A picture or a number for each name that is `held`, and nothing for the others."""
    return tuple(_cell(array[row]) if name in held else "" for name, array in found.items())


def _cell(found: np.ndarray) -> str:
    return picture(found) if found.ndim else f"{found:.3g}"


def picture(image: np.ndarray) -> str:
    """One image, float in [0, 1], C x H x W, as a PNG data URI of at most 64 pixels a side."""
    from PIL import Image

    pixels = np.round(255 * image).astype(np.uint8).transpose(1, 2, 0)
    drawn = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    drawn.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
