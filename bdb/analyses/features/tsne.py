"""Where the triggered samples lie among the classes, as the victim sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfFeatures, Picture
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style
from bdb.training import inference, seeds

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@register("tsne")
class TSNE(OfFeatures):
    """t-SNE of the penultimate features of clean and triggered test images.

    The table has one row per point: `split` (`clean`, `triggered`), `id`, true `label`, `target`
    (-1 where clean), `predicted`, and the coordinates `x` and `y`.
    """

    paper: ClassVar[Paper] = Paper(
        title="Visualizing Data using t-SNE",
        authors="van der Maaten, Hinton",
        venue="JMLR",
        year=2008,
        url="https://www.jmlr.org/papers/v9/vandermaaten08a.html",
    )

    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    clean: int = Field(1000, ge=10, le=20000, description="clean images, spread over the classes")
    triggered: int = Field(200, ge=1, le=20000, description="triggered images, likewise")
    classes: int = Field(10, ge=2, le=10, description="classes shown; targets come first")
    perplexity: float = Field(30.0, ge=2, le=200, description="size of a point's neighbourhood")

    def run(self, view: AnalysisView) -> Picture:
        """Embed a choice of both, together, and draw it."""
        table = self._points(view)
        return Picture(_draw(view, table), table)

    def _points(self, view: AnalysisView) -> pd.DataFrame:
        import pandas as pd

        kept = self._classes(view)
        clean = self._choose(view, "clean", view.test.labels, kept)
        triggered = self._choose(view, "triggered", view.triggered.labels, kept)
        images = torch.cat([view.test.images.cpu()[clean], view.triggered.images.cpu()[triggered]])
        x, y = self._embed(view, inference.features(view.model, images)).T
        columns = {
            "id": torch.cat([view.test.ids.cpu()[clean], view.triggered.ids.cpu()[triggered]]),
            "label": torch.cat(
                [view.test.labels.cpu()[clean], view.triggered.labels.cpu()[triggered]]
            ),
            "target": torch.cat(
                [torch.full_like(clean, -1), view.triggered.targets.cpu()[triggered]]
            ),
            "predicted": common.predictions(view, images),
        }
        table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
        table.insert(0, "split", ["clean"] * len(clean) + ["triggered"] * len(triggered))
        return table.assign(x=x, y=y)

    def _classes(self, view: AnalysisView) -> Tensor:
        """The targets by how often they are asked for, then the other classes, in order."""
        asked = view.triggered.targets.cpu().bincount(minlength=view.data.num_classes)
        return asked.argsort(descending=True, stable=True)[: self.classes]

    def _choose(self, view: AnalysisView, split: str, labels: Tensor, kept: Tensor) -> Tensor:
        """Positions of a split's samples, of the classes shown."""
        eligible = torch.nonzero(torch.isin(labels.cpu(), kept)).flatten()
        count = self.clean if split == "clean" else self.triggered
        generator = view.generator(self.name, split)
        return eligible[common.spread(labels.cpu()[eligible], count, generator)]

    def _embed(self, view: AnalysisView, features: Tensor) -> np.ndarray:
        """N x D -> N x 2."""
        from sklearn.manifold import TSNE as Embedding  # noqa: N811

        embedding = Embedding(
            perplexity=min(self.perplexity, (len(features) - 1) / 3),
            init="pca",
            random_state=seeds.derive(view.seed, "analysis", self.name) % 2**32,
        )
        return embedding.fit_transform(features.numpy())


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
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
        style.headline(figure, f"Features of {view.who} under t-SNE", _note(view, table))
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
