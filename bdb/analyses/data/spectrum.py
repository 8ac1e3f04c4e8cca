"""Where in frequency the trigger lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common, frequencies
from bdb.analyses.base import AnalysisView, OfData, Picture
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_BATCH = 256  # images
_FLOOR = 0.01  # below what rounding to whole grey levels leaves, 1/12
_HIGH = 0.25  # cycles per pixel: half of what pixels can hold along an axis
_POWERS = ["clean", "change"]


@register("spectrum")
class Spectrum(OfData):
    """Mean power spectrum of what the trigger changes, beside that of clean images.

    The spectrum is that of the orthonormal cosine transform (DCT-II) of each channel: coefficient k
    of K along an axis is a wave of k / 2 periods per image, k / 2K cycles per pixel.

    The table has one row per coefficient: `down` and `across` (its k along each axis), `frequency`
    (of both, in cycles per pixel, 0 to 0.71), and the mean power over images and channels, in
    squared grey levels, of `clean` images and of the `change`, triggered - clean. Powers add up to
    a channel's mean sum of squares.
    """

    paper: ClassVar[Paper] = Paper(
        title="Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective",
        authors="Zeng, Park, Mao, Jia",
        venue="ICCV",
        year=2021,
        url="https://arxiv.org/abs/2104.03413",
    )
    scope: ClassVar = "data"
    needs: ClassVar[frozenset[str]] = frozenset({"test", "triggered"})

    samples: int = Field(2000, ge=1, le=100_000, description="images measured, over all classes")

    def run(self, view: AnalysisView) -> Picture:
        """Transform some triggered test images and their originals."""
        _, clean, triggered = common.pairs(view, self.samples, self.name)
        change = triggered.to(torch.int16) - clean.to(torch.int16)
        table = frequencies.table(clean=_power(clean), change=_power(change))
        return Picture(_draw(view, table, len(clean)), table)


def _power(images: Tensor) -> np.ndarray:
    """Mean power over images and channels: float64, H x W."""
    total = np.zeros(images.shape[2:])
    for part in images.split(_BATCH):
        total += np.square(frequencies.transform(part.float().numpy())).sum((0, 1))
    return total / (len(images) * images.shape[1])


def _draw(view: AnalysisView, table: pd.DataFrame, count: int) -> Figure:
    limits = _FLOOR, max(10.0, table[_POWERS].to_numpy().max())
    with style.context():
        figure = frequencies.draw(table, limits, "power, squared grey levels")
        style.headline(figure, "Where in frequency the trigger lies", _note(view, table, count))
    return figure


def _note(view: AnalysisView, table: pd.DataFrame, count: int) -> str:
    note = f"{view.run}: {count} triggered test images; low frequencies lie top left. "
    if not table["change"].any():
        return f"{note}Nothing was changed."
    _, down, across = max(zip(table["change"], table["down"], table["across"], strict=True))
    waves = table[table["frequency"] > 0]  # all but the mean
    clean, change = waves.loc[waves["frequency"] > _HIGH, _POWERS].sum() / waves[_POWERS].sum()
    note += f"The change is strongest at {down} down, {across} across. Above {_HIGH} cycles per "
    note += f"pixel lies {change:.0%} of its power, and {clean:.1%} of clean images', means aside. "
    return f"{note}Where the change rises above clean images, it can be told by."
