"""What lies between the victim and its defended model: the straight path from one to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field

from bdb.analyses import tasks
from bdb.analyses.base import AnalysisView, OfLandscape, Picture
from bdb.analyses.weights import Path
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style
from bdb.training import statistics

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@register("connectivity")
class Connectivity(OfLandscape):
    """Loss and rates of both tasks, on a straight line from the victim's weights to the defended.

    The table has one row per network on the way: `t` (0: the victim's weights, 1: the defended
    model), `clean_loss`, `c_acc`, `backdoor_loss` (of the target, under the trigger), `asr`.

    Whatever a defense puts around the network stays around it everywhere on the way, at t = 0 too.
    Weights in between have no batch statistics of their own: these are relearned from images of the
    victim's training set, or taken from in between as well. The ends keep theirs.
    """

    paper: ClassVar[Paper] = Paper(
        title="Linear Mode Connectivity and the Lottery Ticket Hypothesis",
        authors="Frankle, Dziugaite, Roy, Carbin",
        venue="ICML",
        year=2020,
        url="https://arxiv.org/abs/1912.05671",
    )
    scope: ClassVar = "cell"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"model", "defended", "train_set", "test", "triggered"}
    )

    points: int = Field(15, ge=2, le=200, description="networks on the way, both ends included")
    samples: int = Field(300, ge=1, le=20000, description="test images of each task")
    batch_norm: Literal["relearned", "interpolated"] = Field(
        "relearned", description="batch statistics of the networks in between"
    )
    relearned_from: int = Field(300, ge=2, le=50000, description="training images for that")

    def run(self, view: AnalysisView) -> Picture:
        """Walk."""
        import pandas as pd

        clean, backdoor = tasks.both(view, self.samples)
        path = Path(view.model, view.defended)
        order = torch.randperm(len(view.train_set), generator=view.generator(self.name))
        images = view.train_set.images.cpu()[order[: self.relearned_from]]
        rows = []
        for t in torch.linspace(0, 1, self.points, dtype=torch.float64).tolist():
            model = path.at(t)
            if self.batch_norm == "relearned" and 0 < t < 1:
                statistics.relearn(model, images)
            rows.append((t, *clean.measure(model), *backdoor.measure(model)))
        table = pd.DataFrame(rows, columns=["t", "clean_loss", "c_acc", "backdoor_loss", "asr"])
        return Picture(self._draw(view, table), table)

    def _draw(self, view: AnalysisView, table: pd.DataFrame) -> Figure:
        with style.context():
            figure = style.new_figure(7.6, 3.7)
            left, right = figure.subplots(1, 2)
            _lines(left, table, "clean_loss", "backdoor_loss", str(view.defense))
            _lines(right, table, "c_acc", "asr", str(view.defense))
            left.set(ylabel="cross-entropy (nats)", title="loss")
            right.set(title="clean accuracy and attack success", ylim=(-0.03, 1.03))
            right.yaxis.set_major_formatter("{x:.0%}")
            figure.legend(*left.get_legend_handles_labels(), loc="outside upper right", ncols=2)
            title = f"On the way from the victim to {view.defense}"
            style.headline(figure, title, self._note(view, table))
        return figure

    def _note(self, view: AnalysisView, table: pd.DataFrame) -> str:
        rise = barrier(table["t"].to_numpy(), table["clean_loss"].to_numpy())
        low = table.loc[table["asr"] < 0.5, "t"]
        where = f"first below 50% at {low.iloc[0]:.0%} of the way" if len(low) else "never low"
        start, end = table["asr"].iloc[[0, -1]]
        return (
            f"{view.run}: ASR goes from {start:.1%} to {end:.1%}, {where}; the clean loss rises at "
            f"most {rise:.2f} above the line between its ends. Where no barrier parts the two, the "
            f"defended model lies in the victim's valley. Batch statistics in between are "
            f"{self.batch_norm}."
        )


def barrier(t: np.ndarray, loss: np.ndarray) -> float:
    """How far a loss rises above the straight line between its ends, at most; not negative."""
    return float((loss - loss[0] - t * (loss[-1] - loss[0])).max())


def _lines(axes: Axes, table: pd.DataFrame, clean: str, backdoor: str, defense: str) -> None:
    for column, task, marker in ((clean, tasks.CLEAN, "o"), (backdoor, tasks.BACKDOOR, "s")):
        color, label = tasks.Task.COLORS[task], tasks.Task.TITLES[task]
        axes.plot(table["t"], table[column], color=color, marker=marker, ms=3.5, label=label)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["victim", "", "halfway", "", defense])
    axes.grid(axis="y")
