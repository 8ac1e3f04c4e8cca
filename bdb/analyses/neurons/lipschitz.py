"""Whether the channels that could amplify a small change are those that the trigger moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bdb.analyses import common, layers, tasks
from bdb.analyses.base import AnalysisView, OfNeurons, Picture
from bdb.analyses.bounds import beside, channel_bounds, correlations
from bdb.analyses.changes import changes
from bdb.method import Paper
from bdb.models import surgery
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@register("lipschitz")
class Lipschitz(OfNeurons):
    """The channel bound by which CLP prunes, beside the trigger-activated change (TAC).

    The table has one row per channel of each batch norm that goes with a convolution, layers in the
    order of a pass: `layer`, `depth` (from 0), `channel`, `bound` (of the Lipschitz constant of
    convolution and norm), `deviation` (of the bound, in standard deviations above the layer's
    mean), `tac` (mean L2 norm of what the trigger changes in the channel's map), `share` = tac over
    the layer's mean, and `cut`: whether CLP would prune it.

    CLP, which knows no trigger, works where the two go together. In small victims of digits they do
    not: there late layers give what the trigger moves most a low bound.
    """

    paper: ClassVar[Paper] = Paper(
        title="Data-free Backdoor Removal based on Channel Lipschitzness",
        authors="Zheng, Tang, Li, Liu",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2208.03111",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    samples: int = Field(200, ge=1, le=20000, description="triggered images, and their originals")
    u: float = Field(3.0, ge=0, description="standard deviations above its layer's mean of a cut")
    pairing: surgery.Pairing = Field(
        "listed", description="whether a norm that takes in a sum is left alone (strict)"
    )

    def run(self, view: AnalysisView) -> Picture:
        """Compute both."""
        bounds = channel_bounds(layers.core(view.model), self.pairing)
        moved = changes(view.model, bounds, *tasks.pairs(view, self.samples))
        table = beside(bounds, {name: change for name, (change, _) in moved.items()})
        table["cut"] = table["deviation"] > self.u
        return Picture(self._draw(view, table), table)

    def _draw(self, view: AnalysisView, table: pd.DataFrame) -> Figure:
        with style.context():
            figure = style.new_figure(8.6, 4.2)
            left, right = figure.subplots(1, 2, width_ratios=(3, 2))
            left.scatter(
                table["deviation"],
                table["share"],
                14,
                _colors(table["depth"]),
                alpha=0.8,
                linewidths=0,
            )
            left.axvline(self.u, color=style.MUTED, ls="--", lw=1)
            left.set_xlabel("Lipschitz bound, in standard deviations above its layer's mean")
            left.set_ylabel("change by the trigger, over its layer's mean")
            left.set(title="every channel", ylim=(-0.05, None))
            left.grid(visible=True)
            _bars(right, table)
            title = f"What might amplify a trigger in {view.who}, and what the trigger moves"
            style.headline(figure, title, self._note(view, table))
        return figure

    def _note(self, view: AnalysisView, table: pd.DataFrame) -> str:
        cut = table[table["cut"]]
        said = f"it cuts {len(cut)} of {len(table)} channels"
        if not table["tac"].any():
            said += ", and the trigger moves nothing"
        elif len(cut):
            said += f", moved {cut['share'].mean():.1f} times as far as their layers' mean"
        return (
            f"{view.run}: CLP cuts what lies right of the dashed line (u = {self.u:g}): {said}. "
            "Where the bound tells what the trigger moves, points rise to the right and bars are "
            "long and positive; where it does not, CLP has nothing to go by. A colour is a layer."
        )


def _colors(depths: pd.Series) -> np.ndarray:
    """Early layers dark, late ones light."""
    from matplotlib import colormaps

    return colormaps["viridis"](depths / max(depths.max(), 1) * 0.93)


def _bars(axes: Axes, table: pd.DataFrame) -> None:
    """How well bound and change go together in each layer."""
    found = correlations(table)
    colors = _colors(table["depth"].drop_duplicates())
    axes.barh(range(len(found)), list(found.values()), color=colors, height=0.7)
    axes.axvline(0, color=style.MUTED, lw=0.8)
    common.name_layers(axes.yaxis, list(found))
    axes.set(
        title="do they go together?", xticks=(-1, -0.5, 0, 0.5, 1), ylim=(len(found) - 0.5, -0.5)
    )
    axes.set_xlabel("rank correlation of bound and change")
    axes.grid(axis="x")
