"""How many answers of a defended model are right, and certified to stand how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bdb.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(curve: Mapping[str, Sequence[float]], unit: str, title: str) -> Figure:
    """Certified accuracy over the radius.

    Args:
        curve: `radius` and `accuracy`, as `bdb.metrics.certified.curve` gives them.
        unit: of the radius, as the defense's `certifies` has it.
        title: whose it is.
    """
    with style.context():
        figure = style.new_figure(6.4, 3.6)
        axes = figure.subplots()
        # An accuracy holds up to its radius, and from there to the next the next one does.
        axes.step(
            curve["radius"], curve["accuracy"], where="pre", color=style.BLUE, marker="o", ms=3
        )
        axes.set(
            xlabel=f"radius: {unit}", ylabel="certified accuracy", ylim=(0, 1.02), xlim=(0, None)
        )
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.grid(visible=True)
        note = f"{title}: share of clean test images that are right and certified up to the radius."
        style.headline(figure, "What is certified", note)
    return figure
