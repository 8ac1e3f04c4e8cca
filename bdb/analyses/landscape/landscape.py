"""The loss around a model, of the clean task and of the backdoor, in two random directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from bdb.analyses import tasks
from bdb.analyses.base import AnalysisView, OfLandscape, Picture
from bdb.analyses.weights import Plane
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure

_FLOOR = 0.01  # nats: less looks the same
_RATES = {tasks.CLEAN: "c_acc", tasks.BACKDOOR: "asr"}


@register("landscape")
class Landscape(OfLandscape):
    """Loss and rates of both tasks on a plane through the model's weights.

    The plane is spanned by two random directions that are normalised by filter: each filter of a
    direction is as long as the model's own. Biases, the weights of norms and batch statistics stay
    as they are.

    The table has one row per point: `x`, `y` (in filters' lengths along the directions; 0, 0 is the
    model), `clean_loss`, `c_acc`, `backdoor_loss` (of the target, under the trigger) and `asr`.
    """

    paper: ClassVar[Paper] = Paper(
        title="Visualizing the Loss Landscape of Neural Nets",
        authors="Li, Xu, Taylor, Studer, Goldstein",
        venue="NeurIPS",
        year=2018,
        url="https://arxiv.org/abs/1712.09913",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    samples: int = Field(64, ge=1, le=20000, description="images of each task")
    steps: int = Field(5, ge=1, le=100, description="from the model to each side, beside it")
    reach: float = Field(1.0, gt=0, le=10, description="how far to each side, in filters' lengths")

    def run(self, view: AnalysisView) -> Picture:
        """Measure on a grid."""
        import pandas as pd

        both = tasks.both(view, self.samples)
        plane = Plane(view.model, view.generator(self.name))
        at = [self.reach * step / self.steps for step in range(-self.steps, self.steps + 1)]
        rows = []
        for x, y in ((x, y) for y in at for x in at):
            model = plane.at(x, y)
            rows.append((x, y, *both[0].measure(model), *both[1].measure(model)))
        columns = ["x", "y", "clean_loss", "c_acc", "backdoor_loss", "asr"]
        table = pd.DataFrame(rows, columns=columns)
        return Picture(_draw(view, table), table)


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
    with style.context():
        figure = style.new_figure(8.6, 4.9)
        pair = figure.subplots(1, 2, sharey=True)
        top = max(1.0, table[["clean_loss", "backdoor_loss"]].max().max())
        levels = np.geomspace(_FLOOR, top * 1.001, 15)
        for axes, (task, title) in zip(pair, tasks.Task.TITLES.items(), strict=True):
            filled = _surface(axes, table, f"{task}_loss", _RATES[task], levels)
            axes.set(title=title, xlabel="first direction (lengths of a filter)", aspect="equal")
            axes.locator_params(nbins=5)
        pair[0].set_ylabel("second direction (lengths of a filter)")
        bar = figure.colorbar(filled, ax=pair, shrink=0.85, aspect=30, pad=0.02)
        ticks = [tick for tick in (0.01, 0.1, 1, 10, 100, 1000) if tick <= top]
        bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        bar.set_label("cross-entropy (nats)")
        style.headline(figure, f"The loss around {view.who}", _note(view, table))
    return figure


def _surface(
    axes: Axes, table: pd.DataFrame, loss: str, rate: str, levels: np.ndarray
) -> QuadContourSet:
    """One task's loss in colours, and a line where half of its images get what is wanted."""
    from matplotlib.colors import LogNorm

    grids = (table.pivot(index="y", columns="x", values=column) for column in (loss, rate))
    losses, rates = grids
    x, y = losses.columns.to_numpy(), losses.index.to_numpy()
    found = np.clip(losses.to_numpy(na_value=levels[-1]), _FLOOR, None)
    filled = axes.contourf(x, y, found, levels, norm=LogNorm(), cmap="cividis_r", extend="max")
    if rates.to_numpy().min() < 0.5 < rates.to_numpy().max():
        axes.contour(x, y, rates, [0.5], colors="white", linestyles="--", linewidths=1.4)
    axes.plot(0, 0, "+", color=style.VERMILION, ms=11, mew=2)
    return filled


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    center = table[(table["x"] == 0) & (table["y"] == 0)].iloc[0]
    wide = {rate: (table[rate] > 0.5).mean() for rate in ("c_acc", "asr")}
    return (
        f"{view.run}: the cross is {view.who}, with a loss of {center['clean_loss']:.2g} on the "
        f"clean task and of {center['backdoor_loss']:.2g} on the backdoor. Within the dashed lines "
        f"half of the images get what is wanted: C-Acc is above 50% on {wide['c_acc']:.0%} of the "
        f"plane, ASR on {wide['asr']:.0%}. A backdoor has a valley there; without one, the cross "
        "lies on a slope."
    )
