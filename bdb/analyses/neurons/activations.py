"""Which channels the trigger raises, and which it silences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdb.analyses.base import AnalysisView, Picture
from bdb.analyses.channels import OfChannels, Responses
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 64  # more channels than this, and their numbers no longer fit
_FAR = 2.0  # standard deviations of a channel's answers to clean images


@register("activations")
class Activations(OfChannels):
    """Mean activation of each channel of a stage, on triggered images and on their clean twins.

    The table has one row per channel, in the order of `difference`: `channel`, the means `clean`
    and `triggered` over the same images, their `difference` (triggered - clean), and `clean_std`,
    the standard deviation over the clean images. An activation is the mean of a channel's map.
    """

    def run(self, view: AnalysisView) -> Picture:
        """Compare the means.

        Raises:
            ParamsError: the model has no such stage.
        """
        responses = self.responses(view)
        table = _table(responses)
        return Picture(_draw(view, responses, table), table)


def _table(responses: Responses) -> pd.DataFrame:
    import pandas as pd

    clean, triggered = responses.twins.double(), responses.triggered.double()
    columns = {
        "clean": clean.mean(0).numpy(),
        "triggered": triggered.mean(0).numpy(),
        "difference": (triggered - clean).mean(0).numpy(),
        "clean_std": clean.std(0, correction=0).numpy(),
    }
    table = pd.DataFrame(columns).rename_axis("channel").reset_index()
    return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def _draw(view: AnalysisView, responses: Responses, table: pd.DataFrame) -> Figure:
    with style.context():
        figure = style.new_figure(7.6, 4.9)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _means(above, table)
        _differences(below, table)
        below.set_xlabel(f"channel of {responses.layer}, by what the trigger adds")
        title = f"Channels of {view.who}, without the trigger and with it"
        style.headline(figure, title, _note(view, responses, table))
    return figure


def _means(axes: Axes, table: pd.DataFrame) -> None:
    """Draw both means of each channel, and a line from the one to the other."""
    size = min(20.0, 900 / len(table))
    axes.vlines(table.index, table["clean"], table["triggered"], color=style.MUTED, lw=0.7)
    # A hollow ring stays in sight where the two means are the same.
    rings = axes.scatter(table.index, table["clean"], 1.6 * size, marker="o", label="clean")
    rings.set(facecolors="none", edgecolors=style.BLUE)
    dots = axes.scatter(table.index, table["triggered"], size, marker="D", label="triggered")
    dots.set(color=style.VERMILION, linewidths=0)
    axes.set_ylabel("mean activation")
    axes.grid(axis="y")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def _differences(axes: Axes, table: pd.DataFrame) -> None:
    """Draw what the trigger adds to each channel."""
    colors = [style.VERMILION if up else style.BLUE for up in table["difference"] > 0]
    axes.bar(table.index, table["difference"], width=0.8, color=colors)
    axes.axhline(0, color=style.MUTED, lw=0.7)
    axes.set_ylabel("triggered − clean")
    axes.grid(axis="y")
    axes.set_xlim(-0.8, len(table) - 0.2)
    shown = table["channel"].tolist() if len(table) <= _NUMBERED else []
    axes.set_xticks(range(len(shown)), shown, rotation=90)


def _note(view: AnalysisView, responses: Responses, table: pd.DataFrame) -> str:
    size = table["difference"].abs()
    far = (size > _FAR * table["clean_std"]) & (size > 0)
    moved = table.iloc[int(size.argmax())]
    most = "no channel at all"
    if moved["difference"]:
        most = f"channel {moved['channel']:.0f}: {moved['clean']:.3g} becomes "
        most += f"{moved['triggered']:.3g}"
    return (
        f"{view.run}: mean activations of {len(table)} channels over {len(responses.triggered)} "
        f"test images, clean and triggered. The trigger moves {far.sum()} of them by more than "
        f"{_FAR:.0f} standard deviations of their clean activations, and furthest {most}."
    )
