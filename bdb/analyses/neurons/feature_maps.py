"""What a trigger does to the maps of each stage, from where it lies to all that is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import channels, common
from bdb.analyses.base import AnalysisView, OfNeurons, Picture
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BATCH = 64
_NOTICED = 0.1  # of the largest change in a map


@register("feature_maps")
class FeatureMaps(OfNeurons):
    """Maps of clean test images and of their triggered twins, in the channels that change most.

    The table has one row per `layer` and `channel`, in each layer by `change`: `clean` is the mean
    size of the clean maps' values, `change` that of what the trigger adds to them, `relative` the
    one by the other (NaN where clean is 0), `reach` the share of a map's places that change by more
    than a tenth of what the map changes at most.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"maps"})

    samples: int = Field(100, ge=1, le=5000, description="images measured, spread over classes")
    channels: int = Field(2, ge=1, le=8, description="channels shown of each stage")
    shown: int = Field(2, ge=1, le=6, description="images shown, of those measured")

    def run(self, view: AnalysisView) -> Picture:
        """Measure all, and draw a few.

        Raises:
            ParamsError: the model has no stages.
        """
        channels.layer_of(view.model, None, self.name)
        rows, *pair = common.pairs(view, self.samples, self.name)
        table, draws = _table(view, *pair), view.generator(self.name, "shown")
        pick = common.spread(view.triggered.labels.cpu()[rows], self.shown, draws)
        most = table.groupby("layer", sort=False).head(self.channels)
        return Picture(_draw(view, table, most, [images[pick] for images in pair]), table)


def _table(view: AnalysisView, clean: Tensor, triggered: Tensor) -> pd.DataFrame:
    import pandas as pd

    sums: dict[str, Tensor] = {}
    for pair in zip(clean.split(_BATCH), triggered.split(_BATCH), strict=True):
        before, after = (channels.maps(view, images) for images in pair)
        for layer in before:
            sums[layer] = sums.get(layer, 0) + _measure(before[layer], after[layer])
    parts = {}
    for layer, sizes in sums.items():
        means = pd.DataFrame((sizes / len(clean)).T.numpy(), columns=["clean", "change", "reach"])
        parts[layer] = means.sort_values("change", ascending=False, kind="stable")
    table = pd.concat(parts, names=["layer", "channel"]).reset_index()
    return table.assign(relative=(table["change"] / table["clean"]).where(table["clean"] > 0))


def _measure(before: Tensor, after: Tensor) -> Tensor:
    """`clean`, `change` and `reach`, summed over some images: float64, 3 x C."""
    change = (after - before).abs()
    noticed = change > _NOTICED * change.amax((2, 3), keepdim=True)
    sums = [each.double().mean((2, 3)).sum(0) for each in (before.abs(), change, noticed)]
    return torch.stack(sums)


def _draw(
    view: AnalysisView, table: pd.DataFrame, most: pd.DataFrame, pair: list[Tensor]
) -> Figure:
    maps = [channels.maps(view, images) for images in pair]
    names = list(zip(most["layer"], most["channel"], strict=True))
    with style.context():
        figure = style.new_figure(2.0 + len(names), 1.0 + 3 * len(pair[0]))
        grid = figure.subplots(3 * len(pair[0]), 1 + len(names), squeeze=False)
        for at in range(len(pair[0])):
            first, *others = grid[3 * at : 3 * at + 3].T.tolist()
            _column(first, *(common.drawable(images[at]) for images in pair))
            for axes, name in zip(first, ("clean", "triggered", "change"), strict=True):
                axes.set_ylabel(name)
            for rows, (layer, channel) in zip(others, names, strict=True):
                _column(rows, *(each[layer][at, channel].numpy() for each in maps))
                rows[0].set_title("" if at else f"{layer}\nchannel {channel}")
        style.headline(figure, f"Feature maps of {view.who}", _note(view, table))
    return figure


def _column(rows: list[Axes], before: np.ndarray, after: np.ndarray) -> None:
    """Draw two maps, or images, on one scale, and the size of what changed on one as wide."""
    change = np.abs(after.astype(float) - before)
    low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
    drawn = before, after, low + (change.max(2) if change.ndim == 3 else change)
    for axes, values in zip(rows, drawn, strict=True):
        style.bare(axes)
        # A map of colours that is one and the same to every eye.
        axes.imshow(values, cmap="cividis", vmin=low, vmax=high, interpolation="none")


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    """What is seen, and how far the trigger gets, stage by stage."""
    far = []
    for layer, rows in table.groupby("layer", sort=False):
        share = rows["change"].sum() / max(rows["clean"].sum(), 1e-12)
        far.append(f"{layer} {share:.0%} over {rows['reach'].mean():.0%} of the places")
    return (
        f"{view.run}: the channels that the trigger changes most, stage by stage; the maps of a "
        f"column share a scale. Mean change against the size of the clean maps: {', '.join(far)}."
    )
