"""Where in the network victim, clean model and defended model see alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field

from bdb.analyses import common, tasks
from bdb.analyses.base import AnalysisView, OfFeatures, Picture
from bdb.analyses.similarity import cka, grams
from bdb.method import Paper
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NETWORKS = "defended", "victim", "clean model"
_LOOKS = {
    ("victim", "clean model"): (style.VERMILION, "s", "-"),
    ("defended", "victim"): (style.BLUE, "o", "-"),
    ("defended", "clean model"): (style.GREEN, "D", "--"),
}


@register("cka")
class CKA(OfFeatures):
    """Linear CKA of two networks' layers, on clean images and on clean and triggered ones together.

    The table has one row per pair of networks, split and layer: `one`, `other` (`victim`,
    `clean model`, `defended`), `split` (`clean`; `mixed`: half of the images are triggered),
    `layer` (a convolution or a linear layer, by its output, maps taken whole), `depth` (its place
    in a forward pass, from 0), `cka` from 0 (nothing alike) to 1 (the
    same, but for turn and scale).

    Triggered images alone tell no victim from a clean model: what matters is where they lie among
    clean ones.
    """

    paper: ClassVar[Paper] = Paper(
        title="Similarity of Neural Network Representations Revisited",
        authors="Kornblith, Norouzi, Lee, Hinton",
        venue="ICML",
        year=2019,
        url="https://arxiv.org/abs/1905.00414",
    )
    scope: ClassVar = "cell"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"model", "clean_model", "defended", "test", "triggered"}
    )

    samples: int = Field(400, ge=4, le=1000, description="images compared")

    def run(self, view: AnalysisView) -> Picture:
        """Compare all three on the same images."""
        import pandas as pd

        models = view.defended, view.model, view.clean_model
        clean, backdoor = (task.images for task in tasks.both(view, self.samples))
        mixed = torch.cat([clean[::2], backdoor[1::2]])
        rows = []
        for split, images in (("clean", clean), ("mixed", mixed)):
            seen = dict(zip(_NETWORKS, (grams(model, images) for model in models), strict=True))
            for one, other in _LOOKS:
                shared = [name for name in seen[one] if name in seen[other]]
                rows += [
                    (one, other, split, name, depth, cka(seen[one][name], seen[other][name]))
                    for depth, name in enumerate(shared)
                ]
        table = pd.DataFrame(rows, columns=["one", "other", "split", "layer", "depth", "cka"])
        return Picture(_draw(view, table), table)


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
    with style.context():
        figure = style.new_figure(8.4, 4.3)
        pair = figure.subplots(1, 2, sharey=True)
        titles = {"clean": "clean images", "mixed": "half clean, half triggered"}
        for axes, (split, title) in zip(pair, titles.items(), strict=True):
            _panel(axes, table[table["split"] == split], title)
        pair[0].set_ylabel("linear CKA")
        figure.legend(*pair[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
        title = f"Who sees alike, layer by layer ({view.defense})"
        style.headline(figure, title, _note(view, table))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    for (one, other), (color, marker, line) in _LOOKS.items():
        mine = rows[(rows["one"] == one) & (rows["other"] == other)]
        look: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "linestyle": line,
            "markersize": 3.5,
        }
        axes.plot(mine["depth"], mine["cka"], label=f"{one} \u2013 {other}", **look)
        common.name_layers(axes.xaxis, list(mine["layer"]), rotation=90)
    axes.set(title=title, ylim=(-0.03, 1.03))
    axes.grid(axis="y")


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    columns = ["one", "other", "split"]
    last = table.drop_duplicates(columns, keep="last").set_index(columns)["cka"]
    before, after = (last[one, "clean model", "mixed"] for one in ("victim", "defended"))
    return (
        f"{view.run}: once half of the images are triggered, victim and clean model agree by "
        f"{before:.2f} in the last layer (by {last['victim', 'clean model', 'clean']:.2f} on clean "
        f"images); the defended model and the clean one by {after:.2f}. A backdoor pulls the red "
        "line down on the right; a defense that removes it keeps the green one up."
    )
