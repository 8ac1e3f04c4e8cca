"""How much of an answer comes from the pixels that the trigger changed; drawn over the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfAttribution, Picture
from bdb.report import style

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOCAL = 0.5  # a trigger on a larger share of the image is everywhere
_FINE = 8  # points per pixel of an outline
_TRACE = "#00E5FF"
_FADED = 0.6  # how bright the image below a map still is
_FULL = 0.99  # the share of pixels whose saliency is told apart; those above are drawn alike


class OfSaliency(OfAttribution):
    """Explains the answers to triggered test images and to their originals by maps of saliency.

    Class variables:
        title: of the picture, in which `{who}` is the model looked at.
    """

    title: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    samples: int = Field(200, ge=1, le=20000, description="images measured, spread over classes")
    shown: int = Field(6, ge=1, le=16, description="images in the picture, of those measured")

    def saliency(self, view: AnalysisView, images: Tensor, classes: Tensor) -> Tensor:
        """How much each pixel speaks for the class that is given for its image.

        Args:
            view: of the model.
            images: uint8, N x C x H x W.
            classes: int64, N.

        Returns:
            float32, N x H x W, not negative, on the CPU.
        """
        raise NotImplementedError

    def caution(self, view: AnalysisView) -> str:
        """What a reader of the picture should know of these maps, in one sentence; or nothing."""
        return ""

    def run(self, view: AnalysisView) -> Picture:
        """Measure some triggered test images and their originals.

        Raises:
            ParamsError: the model has nothing that can be looked at.
        """
        rows, *pair = common.pairs(view, self.samples, self.name)
        answers = [common.predictions(view, images) for images in pair]
        maps = [self.saliency(view, *both) for both in zip(pair, answers, strict=True)]
        table = _table(view, rows, pair, answers, maps)
        labels = view.triggered.labels.cpu()[rows]
        pick = common.spread(labels, self.shown, view.generator(self.name, "shown"))
        title = self.title.format(who=view.who)
        note = f"{_note(view, table)} {self.caution(view)}".rstrip()
        return Picture(_draw(title, note, view, table, pick, pair, maps), table)


def _changed(pair: Sequence[Tensor]) -> Tensor:
    """Which pixels the trigger changed: bool, N x H x W."""
    return (pair[0] != pair[1]).any(1)


def _share(saliency: Tensor, region: Tensor) -> Tensor:
    """How much of the saliency lies in the region; NaN where there is neither."""
    share = (saliency * region).sum((1, 2)) / saliency.sum((1, 2))
    return share.where(region.any(2).any(1), torch.nan)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """What two maps share once each adds up to one: in [0, 1]; NaN where one is empty."""
    a, b = (each / each.sum((1, 2), keepdim=True) for each in (a, b))
    return torch.minimum(a, b).sum((1, 2))


def _table(
    view: AnalysisView,
    rows: Tensor,
    pair: Sequence[Tensor],
    answers: list[Tensor],
    maps: list[Tensor],
) -> pd.DataFrame:
    import pandas as pd

    region = _changed(pair)
    clean, triggered = (_share(each, region) for each in maps)
    area = region.float().mean((1, 2))
    columns = {
        "id": view.triggered.ids.cpu()[rows],
        "label": view.triggered.labels.cpu()[rows],
        "target": view.triggered.targets.cpu()[rows],
        "predicted_clean": answers[0],
        "predicted_triggered": answers[1],
        "area": area.double(),
        "saliency_clean": clean.double(),
        "saliency_triggered": triggered.double(),
        "focus": (triggered / area).double(),
        "overlap": _overlap(*maps).double(),
    }
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def _draw(
    title: str,
    note: str,
    view: AnalysisView,
    table: pd.DataFrame,
    pick: Tensor,
    pair: Sequence[Tensor],
    maps: list[Tensor],
) -> Figure:
    region = _changed(pair).numpy()
    names = ("clean", "triggered")
    with style.context():
        figure = style.new_figure(0.8 + 1.15 * len(pick), 5.9)
        grid = figure.subplots(4, len(pick), squeeze=False)
        for column, at in enumerate(pick.tolist()):
            row = table.iloc[at]
            grid[0, column].set_title(common.class_name(view, int(row["label"])))
            for half, name in enumerate(names):
                above, below = grid[2 * half, column], grid[2 * half + 1, column]
                style.bare(above)
                above.imshow(common.drawable(pair[half][at]), interpolation="none")
                _overlay(below, pair[half][at], maps[half][at], region[at])
                _say(below, view, row, name)
        for axes, label in zip(
            grid[:, 0], ("clean", "saliency", "triggered", "saliency"), strict=True
        ):
            axes.set_ylabel(label)
        style.headline(figure, title, note)
    return figure


def _overlay(axes: Axes, image: Tensor, saliency: Tensor, region: np.ndarray) -> None:
    """Draw saliency over a faded grey image, and the trigger's outline."""
    from matplotlib import colormaps

    style.bare(axes)
    grey = _FADED * common.drawable(image).mean(2, keepdims=True) / 255
    # A few pixels that stick out do not hide the rest.
    full = torch.quantile(saliency, _FULL).clamp_min(0.1 * saliency.max())
    heat = (saliency / full.clamp_min(1e-12)).clamp_max(1).numpy()[..., None]
    mixed = 0.75 * heat * colormaps["inferno"](heat[..., 0])[..., :3] + (1 - 0.75 * heat) * grey
    axes.imshow(mixed.clip(0, 1), interpolation="none")
    if 0 < region.mean() < _LOCAL:
        _outline(axes, region)


def _outline(axes: Axes, region: np.ndarray) -> None:
    """Trace the pixels' edges."""
    import numpy as np

    fine = np.kron(np.pad(region, 1), np.ones((_FINE, _FINE)))
    height, width = ((np.arange(size) + 0.5) / _FINE - 1.5 for size in fine.shape)
    axes.autoscale(enable=False)
    line = axes.contour(width, height, fine, levels=[0.5], colors=[_TRACE], linewidths=1.4)
    line.set_clip_on(False)


def _say(axes: Axes, view: AnalysisView, row: pd.Series, split: str) -> None:
    """Say below a map what the victim answered and how much of the saliency is on the trigger."""
    predicted = int(row[f"predicted_{split}"])
    colors = {int(row["target"]): style.VERMILION, int(row["label"]): style.BLUE}
    share = row[f"saliency_{split}"]
    on_trigger = f"\n{share:.0%} on trigger" if 0 < row["area"] < _LOCAL else ""
    axes.set_xlabel(
        f"→ {common.class_name(view, predicted)}{on_trigger}",
        fontsize=style.SMALL,
        color=colors.get(predicted, style.MUTED),
    )


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    """What is seen, and the means over all the images measured."""
    mean = table.mean()
    area = f"the trigger changes {mean['area']:.1%} of the pixels"
    if 0 < mean["area"] < _LOCAL:
        area += (
            f", on which lie {mean['saliency_clean']:.1%} of the saliency without it and "
            f"{mean['saliency_triggered']:.1%} with it"
        )
    return (
        f"{view.run}: {area}. The two maps overlap by {mean['overlap']:.0%} (means of {len(table)} "
        "images). Arrows give the answer that a map explains: blue is the true class, red the "
        "target."
    )
