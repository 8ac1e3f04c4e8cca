"""Where the triggered samples lie among the classes, as a model sees them, in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfFeatures, Picture
from bdb.report import style
from bdb.training import inference, seeds

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Embedding(OfFeatures):
    """Penultimate features of clean and triggered test images, embedded together and drawn.

    A tool fills in `embed`, and `method`, its name in titles. The table has one row per point:
    `split` (`clean`, `triggered`), `id`, true `label`, `target` (-1 where clean), `predicted`, and
    the coordinates `x` and `y`.
    """

    method: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    clean: int = Field(1000, ge=10, le=20000, description="clean images, spread over the classes")
    triggered: int = Field(200, ge=1, le=20000, description="triggered images, likewise")
    classes: int = Field(10, ge=2, le=10, description="classes shown; targets come first")

    def run(self, view: AnalysisView) -> Picture:
        """Embed a choice of both, together, and draw it."""
        table = self._points(view)
        return Picture(_draw(view, table, self.method), table)

    def embed(self, features: np.ndarray, seed: int) -> np.ndarray:
        """float32, N x D -> N x 2."""
        raise NotImplementedError

    def _points(self, view: AnalysisView) -> pd.DataFrame:
        import pandas as pd

        kept = self._classes(view)
        labels, stamped = view.test.labels.cpu(), view.triggered.labels.cpu()
        meant = torch.isin(stamped, kept) & view.triggered.is_source.cpu()
        clean = self._choose(view, "clean", labels, torch.isin(labels, kept))
        triggered = self._choose(view, "triggered", stamped, meant)
        pairs = ((view.test, clean), (view.triggered, triggered))
        images, ids, labels = (
            torch.cat([getattr(split, name).cpu()[rows] for split, rows in pairs])
            for name in ("images", "ids", "labels")
        )
        targets = torch.cat([torch.full_like(clean, -1), view.triggered.targets.cpu()[triggered]])
        predicted = common.predictions(view, images)
        columns = {"id": ids, "label": labels, "target": targets, "predicted": predicted}
        seed = seeds.derive(view.seed, "analysis", self.name) % 2**32
        x, y = self.embed(inference.features(view.model, images).numpy(), seed).T
        table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
        table.insert(0, "split", ["clean"] * len(clean) + ["triggered"] * len(triggered))
        return table.assign(x=x, y=y)

    def _classes(self, view: AnalysisView) -> Tensor:
        """The targets by how often they are asked for, then the other classes, in order."""
        asked = view.triggered.targets.cpu().bincount(minlength=view.data.num_classes)
        return asked.argsort(descending=True, stable=True)[: self.classes]

    def _choose(self, view: AnalysisView, split: str, labels: Tensor, may: Tensor) -> Tensor:
        """Positions in a split, of those that may be chosen, spread over the classes."""
        eligible = may.nonzero().flatten()
        most = {"clean": self.clean, "triggered": self.triggered}[split]
        return eligible[common.spread(labels[eligible], most, view.generator(self.name, split))]


def _draw(view: AnalysisView, table: pd.DataFrame, method: str) -> Figure:
    clean, triggered = (table[table["split"] == split] for split in ("clean", "triggered"))
    with style.context():
        figure = style.new_figure(6.4, 5.6)
        axes = figure.subplots()
        style.bare(axes)
        colors = dict(zip(sorted(table["label"].unique()), style.CLASSES, strict=False))
        _scatter(axes, clean, colors, s=14, marker="o", alpha=0.75, linewidths=0)
        _scatter(axes, triggered, colors, s=26, marker="X", edgecolors=style.INK, linewidths=0.45)
        for label, points in clean.groupby("label"):
            _name(axes, points, common.class_name(view, int(str(label))))
        style.headline(figure, f"Features of {view.who} under {method}", _note(view, table))
    return figure


def _scatter(axes: Axes, points: pd.DataFrame, colors: dict[int, str], **look: Any) -> None:
    axes.scatter(points["x"], points["y"], color=[colors[n] for n in points["label"]], **look)


def _name(axes: Axes, points: pd.DataFrame, name: str) -> None:
    """Write a class's name above its points, as text: the browser has all letters."""
    axes.annotate(
        name,
        (points["x"].median(), points["y"].quantile(0.9)),  # outliers are left aside
        (0, 5),
        textcoords="offset points",
        ha="center",
        fontweight="bold",
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
        zorder=5,
    )


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    triggered = table[table["split"] == "triggered"]
    hit = (triggered["predicted"] == triggered["target"]).mean()
    return (
        f"{view.run}: dots are {len(table) - len(triggered)} clean test images, crosses "
        f"{len(triggered)} triggered ones, in the colour of their true class. "
        f"{view.who.capitalize()} takes {hit:.1%} of the crosses for the target."
    )
