"""Which frequencies of an image the target's logit hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from bdb.analyses import common, frequencies
from bdb.analyses.base import AnalysisView, OfAttribution, Picture
from bdb.registry import register
from bdb.report import style
from bdb.training.loop import to_float

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_BATCH = 128
_DEPTH = 100  # how much less than the largest is still told apart
_HIGH = 0.25  # cycles per pixel: half of what pixels can hold along an axis
_SPLITS = ["clean", "triggered"]


@register("frequency_saliency")
class FrequencySaliency(OfAttribution):
    """Gradients of the target's logit by the coefficients of an image's cosine transform.

    The transform is the orthonormal one (DCT-II) of each channel: coefficient k of K along an axis
    is a wave of k / 2 periods per image, k / 2K cycles per pixel. The target of a triggered image
    is that of its clean twin as well.

    The table has one row per coefficient: `down` and `across` (its k along each axis), `frequency`
    (of both, in cycles per pixel, 0 to 0.71), and the mean size of the gradient over images and
    channels, of `clean` images and of their `triggered` twins: logits per unit of the coefficient,
    where pixels lie in [0, 1].
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    samples: int = Field(500, ge=1, le=20_000, description="images measured, spread over classes")

    def run(self, view: AnalysisView) -> Picture:
        """Transform the gradients of some triggered test images and of their originals."""
        rows, *pair = common.pairs(view, self.samples, self.name)
        targets = view.triggered.targets.cpu()[rows]
        sizes = [_saliency(view, images, targets) for images in pair]
        table = frequencies.table(**dict(zip(_SPLITS, sizes, strict=True)))
        return Picture(_draw(view, table, len(rows)), table)


def _saliency(view: AnalysisView, images: Tensor, targets: Tensor) -> np.ndarray:
    """Mean size of the gradients over images and channels: float64, H x W."""
    total = np.zeros(images.shape[2:])
    for part, wanted in zip(images.split(_BATCH), targets.split(_BATCH), strict=True):
        gradient = common.slopes(view, to_float(part.to(view.device)), wanted)
        # The transform is orthonormal: what is dual to its coefficients is transformed as they are.
        total += np.abs(frequencies.transform(gradient.double().cpu().numpy())).sum((0, 1))
    return total / (len(images) * images.shape[1])


def _draw(view: AnalysisView, table: pd.DataFrame, count: int) -> Figure:
    top = max(float(table[_SPLITS].to_numpy().max()), 1e-12)
    with style.context():
        figure = frequencies.draw(table, (top / _DEPTH, top), "logits per unit of the coefficient")
        title = f"Which frequencies the target's logit hangs on, in {view.who}"
        style.headline(figure, title, _note(view, table, count))
    return figure


def _note(view: AnalysisView, table: pd.DataFrame, count: int) -> str:
    high = table.loc[table["frequency"] > _HIGH, _SPLITS].sum() / table[_SPLITS].sum()
    ratio = table["triggered"].sum() / max(table["clean"].sum(), 1e-12)
    _, down, across = max(zip(table["triggered"], table["down"], table["across"], strict=True))
    return (
        f"{view.run}: mean size of the gradient of the target's logit by the coefficients of "
        f"{count} test images, without the trigger and with it; low frequencies lie top left. With "
        f"it the logit hangs {ratio:.2f} times as much on them, most on {down} down, {across} "
        f"across. Above {_HIGH} cycles per pixel lies {high['clean']:.0%} of the gradient without "
        f"the trigger and {high['triggered']:.0%} with it."
    )
