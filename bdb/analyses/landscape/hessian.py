"""How curved the loss is where a model lies, for the clean task and for the backdoor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field

from bdb.analyses import curvature, tasks
from bdb.analyses.base import AnalysisView, OfLandscape, Picture
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST = 1e-8  # of the highest density: what is drawn


@register("hessian")
class HessianSpectrum(OfLandscape):
    """Extreme eigenvalues and spectral density of the Hessian of both tasks' loss.

    By Lanczos's iteration from a random vector of signs, with products of the exact Hessian (of the
    mean cross-entropy by all weights, in evaluation mode) and a vector; the density follows by
    stochastic Lanczos quadrature. As many vectors as iterations are kept, as long as the weights.

    The table has one row per `task` (`clean`, `backdoor`), `draw` of the first vector, and Ritz
    value, the largest first: `value`, `error` (an eigenvalue is no farther from it, but for
    rounding; the extremes converge first) and `share` of the spectrum that it stands for.
    """

    paper: ClassVar[Paper] = Paper(
        title="PyHessian: Neural Networks Through the Lens of the Hessian",
        authors="Yao, Gholami, Keutzer, Mahoney",
        venue="IEEE BigData",
        year=2020,
        url="https://arxiv.org/abs/1912.07145",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    samples: int = Field(50, ge=1, le=1000, description="images of each task, seen at once")
    iterations: int = Field(25, ge=1, le=500, description="of Lanczos, a product each")
    draws: int = Field(1, ge=1, le=100, description="first vectors; the density is their mean")

    def run(self, view: AnalysisView) -> Picture:
        """Iterate."""
        import pandas as pd

        rows = [
            (task.name, draw, *row)
            for task in tasks.both(view, self.samples)
            for draw in range(self.draws)
            for row in self._spectrum(view, task, draw)
        ]
        table = pd.DataFrame(rows, columns=["task", "draw", "value", "error", "share"])
        return Picture(_draw(view, table), table)

    def _spectrum(
        self, view: AnalysisView, task: tasks.Task, draw: int
    ) -> list[tuple[float, float, float]]:
        """Value, error and share, the largest first; none where there is no image."""
        if not len(task.images):
            return []
        matrix = curvature.Hessian(view.model, task.images, task.labels)
        generator = view.generator(self.name, task.name, draw)
        signs = torch.randint(0, 2, (len(matrix),), generator=generator) * 2.0 - 1
        found = curvature.lanczos(matrix, signs.to(view.device), self.iterations)
        return list(zip(*(each.flip(0).tolist() for each in found), strict=True))


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
    with style.context():
        figure = style.new_figure(8.6, 3.9)
        pair = figure.subplots(1, 2)
        for axes, (task, title) in zip(pair, tasks.Task.TITLES.items(), strict=True):
            axes.set(title=title, xlabel="eigenvalue of the Hessian")
            if (table["task"] == task).any():
                _density(axes, table[table["task"] == task], tasks.Task.COLORS[task])
        pair[0].set_ylabel("density (share per unit)")
        style.headline(figure, f"Curvature of the loss at {view.who}", _note(view, table))
    return figure


def _density(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    """The density, on a scale that shows single eigenvalues; and these as strokes below it."""
    values, shares = (torch.tensor(rows[name].to_numpy()) for name in ("value", "share"))
    spread = max(float(values.max() - values.min()), 1e-12)
    at = torch.linspace(values.min() - 0.06 * spread, values.max() + 0.06 * spread, 800)
    curve = curvature.density(values, shares / rows["draw"].nunique(), at, 0.01 * spread)
    least = float(curve.max()) * _LEAST
    axes.fill_between(at, curve.clamp_min(least / 10), least / 10, color=color, alpha=0.3)
    axes.plot(at, curve.clamp_min(least / 10), color=color, lw=1.3)
    axes.plot(values, torch.full_like(values, 3 * least), "|", color=style.INK, ms=8)
    axes.axvline(0, color=style.MUTED, ls="--", lw=0.8)
    axes.set(yscale="log", ylim=(least, float(curve.max()) * 3))
    axes.yaxis.set_major_formatter("{x:.0e}")


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    said = []
    for task, rows in table.groupby("task", sort=False):
        said.append(f"from {rows['value'].min():.3g} to {rows['value'].max():.3g} ({task})")
    return (
        f"{view.run}: eigenvalues reach {' and '.join(said)}; the scales differ. Strokes are Ritz "
        "values. In a valley hardly any is negative; where as many are as not, as for the backdoor "
        "of a clean model, the model is not at a minimum of that task."
    )
