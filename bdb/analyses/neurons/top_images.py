"""The images that most excite the channels which the trigger moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, Picture
from bdb.analyses.channels import OfChannels, Responses, top
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = {"clean": style.BLUE, "triggered": style.VERMILION}
_FRAME = 2.2


@register("top_images")
class TopImages(OfChannels):
    """A gallery: for each of the channels that the trigger moves furthest, its favourite images.

    They are chosen among clean test images and those of them that there are with the trigger. The
    table has one row per `channel` and `rank` (1: excites it most): `split` (`clean`, `triggered`),
    `id`, true `label`, and the `activation`, the mean of the channel's map.
    """

    channels: int = Field(6, ge=1, le=32, description="channels shown, by what the trigger changes")
    shown: int = Field(10, ge=1, le=20, description="images of each")

    def run(self, view: AnalysisView) -> Picture:
        """Rank the images, channel by channel.

        Raises:
            ParamsError: the model has no such stage.
        """
        responses = self.responses(view)
        table = self._table(responses)
        return Picture(_draw(view, responses, table), table)

    def _table(self, responses: Responses) -> pd.DataFrame:
        import pandas as pd

        clean, triggered, _ = responses.choice
        columns = {
            "split": ["clean"] * len(clean) + ["triggered"] * len(triggered.ids),
            "id": torch.cat([clean.ids, triggered.ids]).numpy(),
            "label": torch.cat([clean.labels, triggered.labels]).numpy(),
        }
        images, answers = pd.DataFrame(columns), responses.both
        parts = []
        for channel in responses.most_changed(self.channels).tolist():
            first = top(answers[:, channel], self.shown)
            part = images.iloc[first.numpy()].reset_index(drop=True)
            part.insert(0, "channel", channel)
            part.insert(1, "rank", part.index + 1)
            parts.append(part.assign(activation=answers[first, channel].double().numpy()))
        return pd.concat(parts, ignore_index=True)


def _draw(view: AnalysisView, responses: Responses, table: pd.DataFrame) -> Figure:
    galleries = table.groupby("channel", sort=False)
    count, width = galleries.ngroups, int(table["rank"].max())
    with style.context():
        figure = style.new_figure(0.7 + 0.78 * width, 1.3 + 1.02 * count)
        grid = figure.subplots(count, width, squeeze=False)
        for row, (channel, gallery) in zip(grid, galleries, strict=True):
            for axes, (_, entry) in zip(row, gallery.iterrows(), strict=True):
                _show(axes, view, responses, entry)
            row[0].set_ylabel(f"channel {channel}")
        _legend(figure)
        title = f"What most excites the channels of {view.who} that the trigger moves"
        style.headline(figure, title, _note(view, responses, table))
    return figure


def _show(axes: Axes, view: AnalysisView, responses: Responses, entry: pd.Series) -> None:
    """Draw one image, its class, and in a frame's colour whether it has the trigger."""
    clean, triggered, _ = responses.choice
    images, ids = (
        (clean.images, clean.ids)
        if entry["split"] == "clean"
        else (triggered.images, triggered.ids)
    )
    at = int(torch.searchsorted(ids, int(entry["id"])))
    style.bare(axes)
    axes.spines[:].set(color=_COLORS[entry["split"]], linewidth=_FRAME)
    axes.imshow(common.drawable(images[at]), interpolation="none")
    name = common.class_name(view, int(entry["label"]), width=9)
    axes.set_xlabel(f"{name}\n{entry['activation']:.3g}", fontsize=style.SMALL, labelpad=2)


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    frames = [
        Patch(facecolor="none", edgecolor=color, linewidth=_FRAME, label=split)
        for split, color in _COLORS.items()
    ]
    figure.legend(handles=frames, loc="outside upper right", ncols=2)


def _note(view: AnalysisView, responses: Responses, table: pd.DataFrame) -> str:
    with_trigger = (table["split"] == "triggered").mean()
    shown = responses.choice.clean, responses.choice.triggered.ids
    of_all = len(shown[1]) / (len(shown[0]) + len(shown[1]))
    return (
        f"{view.run}: a row is a channel of {responses.layer}, first the one that the trigger "
        "changes most; below each image its true class and the channel's activation. "
        f"{with_trigger:.0%} of the images carry the trigger, of those to choose from {of_all:.0%}."
    )
