"""Figures of each coefficient of the cosine transform: as a table, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW = 1000  # a scale of less than three powers of ten


def transform(images: np.ndarray) -> np.ndarray:
    """The orthonormal transform (DCT-II) of each channel: N x C x H x W, of the same shape."""
    from scipy.fft import dctn

    coefficients: np.ndarray = dctn(images, axes=(2, 3), norm="ortho")
    return coefficients


def table(**figures: np.ndarray) -> pd.DataFrame:
    """One row per coefficient: `down`, `across`, `frequency`, and the figures, each H x W."""
    import pandas as pd

    height, width = next(iter(figures.values())).shape
    down, across = np.indices((height, width))
    frequency = np.hypot(down / height, across / width) / 2
    columns = np.stack([down, across, frequency, *figures.values()])
    rows = columns.reshape(len(columns), -1).T
    named = pd.DataFrame(rows, columns=["down", "across", "frequency", *figures])
    return named.astype({"down": int, "across": int})


def draw(table: pd.DataFrame, limits: tuple[float, float], unit: str) -> Figure:
    """Draw the first two figures over all coefficients and by frequency.

    Args:
        table: of `table`.
        limits: of the first's logarithmic scale; what is beyond them is drawn at them.
        unit: of the figures.
    """
    from matplotlib.colors import LogNorm

    names = table.columns[3:5].tolist()
    figure = style.new_figure(10.0, 3.5)
    *pair, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    for axes, name in zip(pair, names, strict=True):
        square = table.pivot(index="down", columns="across", values=name)
        norm = LogNorm(*limits, clip=True)
        image = axes.imshow(square, norm=norm, cmap="viridis", interpolation="none")
        axes.set(title=name, xlabel="coefficient across", ylabel="coefficient down")
    bar = figure.colorbar(image, ax=pair, aspect=25, label=unit)
    _ticks(bar.ax, limits)
    _profiles(right, table, names, limits[0])
    return figure


def _profiles(axes: Axes, table: pd.DataFrame, names: list[str], floor: float) -> None:
    """Mean figures of the coefficients around each frequency."""
    rings = max(table["down"].max(), table["across"].max(), 1)
    middles = (table["frequency"] * 2 * rings).round() / (2 * rings)
    means = table.groupby(middles)[names].mean().clip(lower=floor)
    for name, color in zip(names, (style.BLUE, style.VERMILION), strict=True):
        axes.plot(means[name], color=color, label=name)
    axes.set(title="by frequency", yscale="log", xlabel="frequency, cycles per pixel")
    _ticks(axes, (means.to_numpy().min(), means.to_numpy().max()))
    axes.legend()


def _ticks(axes: Axes, limits: tuple[float, float]) -> None:
    """Powers of ten, or plain numbers where there are too few of these."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(style.power_of_ten)
    if limits[1] < _FEW * limits[0]:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
