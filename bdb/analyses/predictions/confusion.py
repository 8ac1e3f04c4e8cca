"""What the victim mistakes for what, without the trigger and with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from torch import Tensor

from bdb.analyses import common, matrices
from bdb.analyses.base import AnalysisView, OfPredictions, Picture
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


@register("confusion")
class Confusion(OfPredictions):
    """Confusion matrices of the clean and of the triggered test images.

    The table has one row per split (`clean`, `triggered`), true `label` and `predicted` class:
    `count`, and `share` of the label's images (NaN where there are none).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    def run(self, view: AnalysisView) -> Picture:
        """Count what the victim takes each class for."""
        triggered = view.triggered.to("cpu")
        answers = [common.predictions(view, each.images) for each in (view.test, triggered)]
        counts = {
            "clean": _count(view, view.test.labels, answers[0]),
            "triggered": _count(view, triggered.labels, answers[1]),
        }
        hit = answers[1] == triggered.targets
        asr = float(hit[triggered.is_source].float().mean())
        return Picture(_draw(view, counts, asr), _table(counts))


def _count(view: AnalysisView, labels: Tensor, answers: Tensor) -> np.ndarray:
    """Images by true and predicted class: int64, K x K."""
    classes = view.data.num_classes
    cells = labels.cpu() * classes + answers
    return cells.bincount(minlength=classes**2).reshape(classes, classes).numpy()


def _shares(counts: np.ndarray) -> np.ndarray:
    totals = counts.sum(1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def _table(counts: dict[str, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for split, matrix in counts.items():
        label, predicted = np.indices(matrix.shape)
        columns = {
            "split": split,
            "label": label.ravel(),
            "predicted": predicted.ravel(),
            "count": matrix.ravel(),
            "share": _shares(matrix).ravel(),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _draw(view: AnalysisView, counts: dict[str, np.ndarray], asr: float) -> Figure:
    classes = view.data.num_classes
    side = min(max(2.6, 0.36 * classes), 6.0)
    accuracy = counts["clean"].trace() / max(counts["clean"].sum(), 1)
    titles = (f"clean: {accuracy:.1%} right", f"triggered: {asr:.1%} as the target")
    with style.context():
        figure = style.new_figure(2 * side + 1.6, side + 1.3)
        pair = figure.subplots(1, 2)
        for axes, matrix, title in zip(pair, counts.values(), titles, strict=True):
            image = _matrix(axes, view, _shares(matrix), matrix)
            axes.set_title(title)
            axes.set_xlabel("predicted class")
        pair[0].set_ylabel("true class")
        _mark_targets(pair[1], view)
        bar = figure.colorbar(image, ax=pair, shrink=0.8, aspect=30, pad=0.02)
        bar.ax.yaxis.set_major_formatter("{x:.0%}")
        bar.outline.set_visible(False)
        note = (
            f"{view.run}: numbers are images, colours are shares of a row. Red frames the target; "
        )
        note += "a class that is its own target has no triggered image."
        style.headline(figure, f"What {view.who} takes each class for", note)
    return figure


def _matrix(axes: Axes, view: AnalysisView, shares: np.ndarray, counts: np.ndarray) -> AxesImage:
    """Draw one matrix; rows without any image are hatched."""
    axes.set_facecolor(style.FAINT)
    names = [common.class_name(view, label) for label in range(len(shares))]
    image = matrices.draw(axes, shares, counts, names)
    if len(names) > matrices.READABLE:
        return image
    for row in np.flatnonzero(np.isnan(shares).all(1)):
        axes.axhspan(row - 0.5, row + 0.5, facecolor="none", edgecolor="white", hatch="////", lw=0)
    axes.set_yticks(range(len(names)), names)
    return image


def _mark_targets(axes: Axes, view: AnalysisView) -> None:
    """Frame, in each row, the cell of the target."""
    from matplotlib.patches import Rectangle

    pairs = np.stack([view.triggered.labels.cpu().numpy(), view.triggered.targets.cpu().numpy()], 1)
    for label, target in np.unique(pairs, axis=0):
        corner = (target - 0.5, label - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=style.VERMILION, lw=1.2))
