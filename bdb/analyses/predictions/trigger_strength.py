"""How much of the trigger it takes: answers while it grows from nothing to more than it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfPredictions, Picture
from bdb.registry import register
from bdb.report import style
from bdb.training import inference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 6  # images in the upper row


@register("trigger_strength")
class TriggerStrength(OfPredictions):
    """ASR against the strength s of the trigger: x + s (x_trig - x), rounded to pixels.

    The table has one row per strength (0: the clean image, 1: the trigger as the attacker uses it):
    `strength`, `asr` and `p_target` (mean probability of the target), `ra` (the share that gets the
    true class all the same) and `p_true` (its mean probability), and `change`, the mean
    absolute change of a value in grey levels, after rounding and clipping to 0 to 255.

    A trigger that moves what is in the image shines through at s < 1, and is not moved by less.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    samples: int = Field(500, ge=1, le=20000, description="images, spread over the classes")
    strongest: float = Field(1.5, gt=0, le=20, description="largest strength")
    steps: int = Field(15, ge=1, le=500, description="strengths up to it, beside 0")

    def run(self, view: AnalysisView) -> Picture:
        """Ask about each strength."""
        import pandas as pd

        chosen, clean, triggered = common.pairs(view, self.samples, self.name)
        pair = clean, triggered
        labels, targets = (
            each.cpu()[chosen] for each in (view.triggered.labels, view.triggered.targets)
        )
        rows = []
        for strength in (self.strongest * step / self.steps for step in range(self.steps + 1)):
            images = blend(*pair, strength)
            chances = inference.logits(view.model, images).softmax(1)
            shares = _shares(chances, targets), _shares(chances, labels)
            change = (images.float() - clean.float()).abs().mean()
            rows.append((strength, *shares[0], *shares[1], float(change)))
        columns = ["strength", "asr", "p_target", "ra", "p_true", "change"]
        table = pd.DataFrame(rows, columns=columns)
        return Picture(self._draw(view, table, pair), table)

    def _draw(self, view: AnalysisView, table: pd.DataFrame, pair: tuple[Tensor, Tensor]) -> Figure:
        with style.context():
            figure = style.new_figure(6.6, 5.0)
            grid = figure.add_gridspec(2, _SHOWN, height_ratios=(1, 3))
            for column in range(_SHOWN):
                axes = figure.add_subplot(grid[0, column])
                strength = self.strongest * column / (_SHOWN - 1)
                image = blend(pair[0][:1], pair[1][:1], strength)[0]
                axes.imshow(common.drawable(image), interpolation="none")
                style.bare(axes)
                axes.set_title(f"s = {strength:.2g}", fontsize=style.SMALL)
            _curves(figure.add_subplot(grid[1, :]), table)
            title = f"How much of the trigger {view.who} needs"
            style.headline(figure, title, _note(view, table))
        return figure


def blend(clean: Tensor, triggered: Tensor, strength: float) -> Tensor:
    """Images between, and beyond, two: uint8, of the same shape."""
    clean, triggered = clean.float(), triggered.float()
    return (clean + strength * (triggered - clean)).round().clamp(0, 255).to(torch.uint8)


def _shares(chances: Tensor, wanted: Tensor) -> tuple[float, float]:
    """How many images get the class wanted of them, and its mean probability."""
    hit = (chances.argmax(1) == wanted).float().mean()
    return float(hit), float(chances.gather(1, wanted[:, None]).mean())


def _curves(axes: Axes, table: pd.DataFrame) -> None:
    for rate, chance, color, marker, label in (
        ("asr", "p_target", style.VERMILION, "s", "target (ASR)"),
        ("ra", "p_true", style.BLUE, "o", "true class (RA)"),
    ):
        x = table["strength"]
        axes.plot(x, table[rate], color=color, marker=marker, ms=4, label=label)
        axes.plot(x, table[chance], color=color, ls=":", lw=1.2, label="its mean probability")
    axes.axvline(1, color=style.MUTED, ls="--", lw=1)
    axes.set(xlabel="strength s of the trigger", ylabel="share of the images", ylim=(-0.03, 1.03))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(axis="y")
    axes.legend(loc="center right")


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    full = table.loc[(table["strength"] - 1).abs().argmin()]
    over = table.loc[table["asr"] > 0.5, "strength"]
    half = f"first above 50% at s = {over.iloc[0]:.2g}" if len(over) else "never above 50%"
    return (
        f"{view.run}: the trigger is laid over the image with strength s; at the dashed line it is "
        f"the attacker's own. With s = {full['strength']:.2g}, ASR is {full['asr']:.1%}, {half}; "
        f"pixels change by {full['change']:.2g} grey levels on average. The earlier the red line "
        "rises, the weaker a trigger will do."
    )
