"""Shares by row and column, drawn in blue, and what they are of, written where it is readable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bdb.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

READABLE = 20  # more columns than this, and numbers and names no longer fit


def draw(
    axes: Axes, shares: np.ndarray, numbers: np.ndarray, names: list[str], **look: Any
) -> AxesImage:
    """Draw a matrix; its columns are named, and its cells written, if they are readable.

    Args:
        axes: to draw on.
        shares: in [0, 1], or NaN where there is nothing.
        numbers: whole ones, of the same shape; 0 is not written.
        names: of the columns.
        look: as `imshow` takes it.
    """
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none", **look)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(names) > READABLE:
        return image
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    for (row, column), number in np.ndenumerate(numbers):
        if number:
            color = "white" if shares[row, column] > 0.55 else style.INK
            place: dict[str, Any] = {"ha": "center", "va": "center", "size": style.SMALL}
            axes.text(column, row, str(number), color=color, **place)
    return image
