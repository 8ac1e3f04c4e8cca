"""How much of each image the trigger leaves as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfData, Picture
from bdb.metrics import quality
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEASURES = {
    "psnr": (quality.psnr, "PSNR, dB", "{:.1f}"),
    "ssim": (quality.ssim, "SSIM", "{:.3f}"),
    "ms_ssim": (quality.ms_ssim, "MS-SSIM", "{:.3f}"),
    "vif": (quality.vif, "VIF", "{:.3f}"),
}
_BINS = 40
_DECIBELS, _SHARE = 2.0, 0.02  # an axis spans at least so much


@register("image_quality")
class ImageQuality(OfData):
    """Distributions of PSNR, SSIM, MS-SSIM and VIF of triggered images against their originals.

    The table has one row per image: `id`, true `label`, `target`, `psnr` (dB, infinite where
    nothing changed), and `ssim`, `ms_ssim` and `vif`, which are 1 where nothing changed. Small
    images have no room for all scales of the last two (`bdb.metrics.quality`): below 22 pixels
    `ms_ssim` is NaN, below 17 `vif`; so is `vif` of an image with a channel of one grey.
    """

    scope: ClassVar = "data"
    needs: ClassVar[frozenset[str]] = frozenset({"test", "triggered"})

    samples: int = Field(1000, ge=1, le=100_000, description="images measured, over all classes")

    def run(self, view: AnalysisView) -> Picture:
        """Measure some triggered test images."""
        import pandas as pd

        rows, clean, triggered = common.pairs(view, self.samples, self.name)
        chosen = view.triggered
        truth = {"id": chosen.ids, "label": chosen.labels, "target": chosen.targets}
        columns = {name: column.cpu()[rows] for name, column in truth.items()}
        columns |= {name: of(clean, triggered).double() for name, (of, *_) in _MEASURES.items()}
        table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
        return Picture(_draw(view, table), table)


def _draw(view: AnalysisView, table: pd.DataFrame) -> Figure:
    with style.context():
        figure = style.new_figure(9.6, 3.0)
        panels = figure.subplots(1, len(_MEASURES), sharey=True)
        for axes, name in zip(panels, _MEASURES, strict=True):
            _histogram(axes, name, table[name])
        panels[0].set_ylabel("share of the images")
        panels[0].yaxis.set_major_formatter("{x:.0%}")
        style.headline(figure, "How much the trigger leaves as it was", _note(view, table))
    return figure


def _histogram(axes: Axes, name: str, values: pd.Series) -> None:
    """One measure's distribution, and its median."""
    _, label, form = _MEASURES[name]
    finite = values[np.isfinite(values)]
    axes.set_xlabel(label)
    if finite.empty:
        said = "nothing\nchanged" if np.isinf(values).any() else "not measured:\ntoo small or flat"
        axes.text(0.5, 0.5, said, ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
        return
    high = finite.max()
    low = min(finite.min(), high - (_DECIBELS if name == "psnr" else _SHARE))
    weights = np.full(len(finite), 1 / len(values))
    axes.hist(finite, bins=_BINS, range=(low, high), weights=weights, color=style.BLUE, alpha=0.75)
    median = finite.median()
    axes.axvline(median, color=style.VERMILION, lw=1.5)
    axes.set_title(f"median {form.format(median)}", color=style.VERMILION)


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    same = int(np.isinf(table["psnr"]).sum())
    height, width = view.data.shape[1:]
    note = f"{view.run}: {len(table)} triggered test images against their originals"
    note += f", {same} of them unchanged" if same else ""
    scales = quality.scales(height, width)
    return (
        f"{note}. The further right, the less there is to see; 1 is the original (VIF is more if "
        f"contrast rises). Images of {width} x {height} pixels have room for {scales} of the 5 "
        "scales of MS-SSIM."
    )
