"""How sure the answers are, and whether rightly so, without the trigger and with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfPredictions, Picture
from bdb.method import Paper
from bdb.metrics.calibration import binned, calibration_error
from bdb.registry import register
from bdb.report import style
from bdb.training import inference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {"clean": (style.BLUE, "o"), "triggered": (style.VERMILION, "s")}


@register("confidence")
class Confidence(OfPredictions):
    """Distribution of the confidence, and how far it is from the share of right answers.

    The table has one row per `split` (`clean`, `triggered`) and bin of confidence from `low` to
    `high`: `count`, the mean `confidence` of its images, the share `right` that get their true
    class, the share `hit` that get the target (of triggered images; NaN for clean ones). The
    expected calibration error is the mean of |right - confidence|, weighted by `count`.
    """

    paper: ClassVar[Paper] = Paper(
        title="On Calibration of Modern Neural Networks",
        authors="Guo, Pleiss, Sun, Weinberger",
        venue="ICML",
        year=2017,
        url="https://arxiv.org/abs/1706.04599",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    samples: int = Field(4000, ge=1, le=100000, description="images of each split at most")
    bins: int = Field(15, ge=2, le=100, description="of equal width, from 0 to 1")

    def run(self, view: AnalysisView) -> Picture:
        """Ask for the answers to both."""
        import pandas as pd

        clean = common.spread(view.test.labels, self.samples, view.generator(self.name, "clean"))
        triggered = common.stamped(view, self.samples, self.name, "triggered")
        splits = (("clean", view.test, clean), ("triggered", view.triggered, triggered))
        parts = []
        for split, given, rows in splits:
            probabilities = inference.logits(view.model, given.images.cpu()[rows]).softmax(1)
            confidence, answer = probabilities.max(1)
            hit = torch.full_like(confidence, torch.nan)
            if split == "triggered":
                hit = (answer == view.triggered.targets.cpu()[rows]).float()
            right = (answer == given.labels.cpu()[rows]).float()
            parts.append(binned(confidence, right, hit, self.bins).assign(split=split))
        table = pd.concat(parts, ignore_index=True)
        table.insert(0, "split", table.pop("split"))
        return Picture(_draw(view, table), table)


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
    with style.context():
        figure = style.new_figure(7.6, 4.2)
        left, right = figure.subplots(1, 2)
        for split, rows in ((name, table[table["split"] == name]) for name in _LOOKS):
            _histogram(left, rows, split)
            _reliability(right, rows, split)
        left.set(xlabel="confidence of the answer", ylabel="share of the images", xlim=(0, 1))
        left.set_title("how sure the answers are")
        left.yaxis.set_major_formatter("{x:.0%}")
        right.plot([0, 1], [0, 1], color=style.MUTED, ls="--", lw=1)
        right.set(xlabel="confidence of the answer", ylabel="share of true classes")
        right.set(xlim=(0, 1.05), ylim=(-0.06, 1.06))
        right.yaxis.set_major_formatter("{x:.0%}")
        right.set_title("and how often they are right")
        left.legend(loc="upper left")
        style.headline(figure, f"Confidence and calibration of {view.who}", _note(view, table))
    return figure


def _histogram(axes: Axes, rows: pd.DataFrame, split: str) -> None:
    shares = rows["count"] / max(rows["count"].sum(), 1)
    edges = np.append(rows["low"], 1.0)
    axes.stairs(shares, edges, color=_LOOKS[split][0], fill=True, alpha=0.25)
    axes.stairs(shares, edges, color=_LOOKS[split][0], lw=1.4, label=f"{split} images")


def _reliability(axes: Axes, rows: pd.DataFrame, split: str) -> None:
    """One point for each bin that has images, the larger the more there are."""
    color, marker = _LOOKS[split]
    size = 12 + 130 * rows["count"] / max(rows["count"].sum(), 1)
    axes.plot(rows["confidence"].dropna(), rows["right"].dropna(), color=color, lw=1, alpha=0.6)
    axes.scatter(rows["confidence"], rows["right"], size, color=color, marker=marker, zorder=3)


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    clean, triggered = (table[table["split"] == split] for split in _LOOKS)
    hit = (triggered["hit"] * triggered["count"]).sum() / max(triggered["count"].sum(), 1)
    return (
        f"{view.run}: the expected calibration error is {calibration_error(clean):.1%} on clean "
        f"images and {calibration_error(triggered):.1%} on triggered ones, {hit:.1%} of which get "
        "the target. On the dashed line confidence is what it should be; a backdoor is far below "
        "it, at the right: sure, and wrong. Larger points stand for more images."
    )
