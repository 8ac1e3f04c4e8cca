"""What the network looked at is made of, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bdb.analyses import counting
from bdb.analyses.base import AnalysisView, OfNeurons, Picture
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@register("architecture")
class Architecture(OfNeurons):
    """Layers of the network, with their outputs, parameters and multiply-accumulates.

    The table has one row per module that computes or holds something of its own, in the order of a
    forward pass: `layer`, `kind`, `output` (its shape for one image, as `16 x 8 x 8`),
    `parameters`, `zeros` (how many of them are exactly 0, as pruning leaves them), and `macs`: the
    multiply-accumulates of its convolutions and matrix products for one image. Norms, activations
    and pools count as none.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model"})

    bars: int = Field(40, ge=4, le=200, description="most bars in the picture: layers, or blocks")

    def run(self, view: AnalysisView) -> Picture:
        """Send one black image through."""
        table = counting.layers(view.model)
        return Picture(_draw(view, table, self.bars), table)


def _blocks(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """The layers that weigh something; if they are too many, what lies in one block together."""
    heavy = table[(table["parameters"] > 0) | (table["macs"] > 0)]
    for depth in range(max(name.count(".") for name in heavy["layer"]) + 1, 0, -1):
        block = heavy["layer"].map(lambda name, depth=depth: ".".join(name.split(".")[:depth]))
        if block.nunique() <= most:
            break
    rules = {"output": "last", "parameters": "sum", "zeros": "sum", "macs": "sum"}
    return heavy.groupby(block, sort=False).agg(rules).reset_index()


def _draw(view: AnalysisView, table: pd.DataFrame, most: int) -> Figure:
    bars = _blocks(table, most)
    with style.context():
        figure = style.new_figure(9.6, 1.5 + 0.19 * len(bars))
        left, right = figure.subplots(1, 2, sharey=True)
        _bars(left, bars["parameters"], "parameters")
        _bars(right, bars["macs"], "multiply-accumulates for one image")
        zeros = [f", {_short(count)} zeros" if count else "" for count in bars["zeros"]]
        names = bars["layer"] + "  (" + bars["output"] + zeros + ")"
        left.set_yticks(bars.index, names)
        left.set_ylim(len(bars) - 0.4, -0.6)
        style.headline(figure, f"What {view.who} is made of", _note(view, table))
    return figure


def _bars(axes: Axes, sizes: pd.Series, what: str) -> None:
    axes.barh(sizes.index, sizes, color=style.PALETTE[5])
    axes.set_xlabel(what)
    axes.xaxis.set_major_formatter(_short)
    running = axes.twiny()
    running.plot(sizes.cumsum() / max(sizes.sum(), 1), sizes.index, color=style.INK, lw=1.0)
    running.set(xlim=(0, 1), xlabel="cumulative share")
    running.xaxis.set_major_formatter("{x:.0%}")


def _short(size: float, _: float = 0) -> str:
    """As `12 k` or `4.5 M`."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(places=None if size < 1000 else 1)(size).removesuffix(" ")


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    parameters, zeros, macs = table[["parameters", "zeros", "macs"]].sum()
    return (
        f"{view.run}: {len(table)} layers, {_short(parameters)} parameters, {_short(macs)} "
        f"multiply-accumulates for one image of {' x '.join(map(str, view.data.shape))}; "
        f"{_short(zeros)} of the parameters are 0, as pruning leaves them. Lines add up."
    )
