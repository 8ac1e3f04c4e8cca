"""Trigger-activated change: which channels the trigger moves, and what hangs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field

from bdb.analyses import common, layers, tasks
from bdb.analyses.base import AnalysisView, OfNeurons, Picture
from bdb.analyses.changes import changes, first, ranked
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@register("tac")
class TriggerActivatedChange(OfNeurons):
    """TAC of each channel, and C-Acc and ASR while the channels with the largest are silenced.

    The table has one row per channel of each layer (`layers.with_channels`), layers in the order of
    a pass: `layer`, `depth` (from 0), `channel`, `tac` (mean over the images of the L2 norm of what
    the trigger changes in its map), `relative` (the same, over the mean norm of the layer's clean
    maps), `rank` by that among all channels (from 1), and `c_acc` and `asr` while all channels up
    to this rank are silenced (NaN where that was not tried).
    """

    paper: ClassVar[Paper] = Paper(
        title="Data-free Backdoor Removal based on Channel Lipschitzness",
        authors="Zheng, Tang, Li, Liu",
        venue="ECCV",
        year=2022,
        url="https://arxiv.org/abs/2208.03111",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})

    samples: int = Field(200, ge=1, le=20000, description="images of each task")
    silenced: float = Field(0.12, gt=0, le=1, description="share of the channels, at most")
    cuts: int = Field(12, ge=2, le=200, description="how many shares up to there are tried")

    def run(self, view: AnalysisView) -> Picture:
        """Measure, and silence."""
        names = layers.with_channels(view.model)
        table = ranked(changes(view.model, names, *tasks.pairs(view, self.samples)))
        clean, backdoor = tasks.both(view, self.samples)
        last = max(2.0, self.silenced * len(table))
        for cut in torch.linspace(1, last, self.cuts).long().unique().tolist():
            with layers.silenced(view.model, first(table, cut)):
                rates = [task.measure(view.model)[1] for task in (clean, backdoor)]
            table.loc[table["rank"] == cut, ["c_acc", "asr"]] = rates
        before = clean.measure(view.model)[1], backdoor.measure(view.model)[1]
        return Picture(_draw(view, table, before), table)


def _draw(view: AnalysisView, table: pd.DataFrame, before: tuple[float, float]) -> Figure:
    with style.context():
        figure = style.new_figure(8.6, 4.4)
        left, right = figure.subplots(1, 2)
        tried = table[table["c_acc"].notna()].sort_values("rank")
        top = table["rank"] <= tried["rank"].max()
        for rows, color in ((table[~top], style.MUTED), (table[top], style.ORANGE)):
            left.plot(rows["depth"], rows["relative"], "o", color=color, ms=3, alpha=0.6)
        common.name_layers(left.xaxis, list(table["layer"].unique()), rotation=90)
        left.set(title="how far the trigger moves each", ylim=(-0.02, None))
        left.set_ylabel("change, over the layer's mean norm")
        left.grid(axis="y")
        _curves(right, [0.0, *(tried["rank"] / len(table))], tried, before)
        figure.legend(loc="outside upper right", ncols=2)
        title = f"Channels of {view.who} that the trigger moves"
        style.headline(figure, title, _note(view, table, tried, before))
    return figure


def _curves(
    axes: Axes, shares: list[float], tried: pd.DataFrame, before: tuple[float, float]
) -> None:
    """C-Acc and ASR against the share of channels that is silenced."""
    looks = (("c_acc", tasks.CLEAN, "-o", "clean accuracy"), ("asr", tasks.BACKDOOR, "-s", "ASR"))
    for (column, task, line, label), start in zip(looks, before, strict=True):
        color = tasks.Task.COLORS[task]
        axes.plot(shares, [start, *tried[column]], line, color=color, ms=3.5, label=label)
    axes.set(title="what is left without the first of them", ylim=(-0.03, 1.03))
    axes.set_xlabel("channels silenced, those that move most first")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(visible=True)


def _note(
    view: AnalysisView, table: pd.DataFrame, tried: pd.DataFrame, before: tuple[float, float]
) -> str:
    if not table["tac"].any():
        return f"{view.run}: the trigger moves nothing; channels are silenced in no order."
    best = tried.iloc[int((tried["c_acc"] - tried["asr"]).fillna(0).argmax())]
    return (
        f"{view.run}: points are channels; the orange ones are silenced on the right, those that "
        f"the trigger moves most first. Without the first {best['rank'] / len(table):.1%}, ASR is "
        f"{best['asr']:.1%} instead of {before[1]:.1%}, and C-Acc {best['c_acc']:.1%} instead of "
        f"{before[0]:.1%}. A backdoor hangs on few channels, most of them late in the network."
    )
