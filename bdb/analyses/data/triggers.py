"""What the trigger looks like, and how much of an image it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.analyses import common
from bdb.analyses.base import AnalysisView, OfData, Picture
from bdb.metrics import quality
from bdb.registry import register
from bdb.report import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@register("triggers")
class Triggers(OfData):
    """Clean image, triggered image and their amplified difference, with PSNR and SSIM.

    The table has one row per triggered test image: `id`, true `label`, `target`, what the victim
    takes the image for without and with the trigger, `psnr` (dB, infinite where nothing changed),
    `ssim`, `max_change` (of 255), and whether the picture shows it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"model", "test", "triggered"})

    samples: int = Field(8, ge=1, le=32, description="images shown, spread over the classes")

    def run(self, view: AnalysisView) -> Picture:
        """Compare every triggered test image with its original, and draw some."""
        table = self._table(view)
        return Picture(self._draw(view, table), table)

    def _table(self, view: AnalysisView) -> pd.DataFrame:
        import pandas as pd

        triggered, originals = view.triggered, view.originals().images.cpu()
        images = triggered.images.cpu()
        chosen = common.spread(triggered.labels, self.samples, view.generator(self.name))
        shown = torch.zeros(len(triggered.labels), dtype=torch.bool)
        shown[chosen] = True
        columns = {
            "id": triggered.ids,
            "label": triggered.labels,
            "target": triggered.targets,
            "predicted_clean": common.predictions(view, originals),
            "predicted_triggered": common.predictions(view, images),
            "psnr": quality.psnr(originals, images).double(),
            "ssim": quality.ssim(originals, images).double(),
            "max_change": _change(images, originals).abs().amax((1, 2, 3)),
            "shown": shown,
        }
        return pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})

    def _draw(self, view: AnalysisView, table: pd.DataFrame) -> Figure:
        shown = table[table["shown"]].sort_values(["label", "id"], kind="stable")
        rows = torch.tensor(shown.index.to_list())
        clean, triggered = view.originals().images.cpu()[rows], view.triggered.images.cpu()[rows]
        gain = 255 / max(int(shown["max_change"].max()), 1)
        changed = bool(shown["max_change"].max())
        with style.context():
            figure = style.new_figure(0.9 + 1.05 * len(shown), 4.6)
            grid = figure.subplots(3, len(shown), squeeze=False)
            for column, (_, row) in enumerate(shown.iterrows()):
                difference = 127.5 + gain * _change(triggered[column], clean[column]) / 2
                for axes, image in zip(
                    grid[:, column], (clean[column], triggered[column], difference), strict=True
                ):
                    style.bare(axes)
                    axes.imshow(common.drawable(image.to(torch.uint8)), interpolation="none")
                grid[0, column].set_title(common.class_name(view, row["label"]))
                _verdict(grid[0, column], view, row, row["predicted_clean"])
                _verdict(grid[1, column], view, row, row["predicted_triggered"])
                psnr = f"{row['psnr']:.1f} dB" if row["max_change"] else "identical"
                grid[2, column].set_xlabel(f"{psnr}\nSSIM {row['ssim']:.3f}", fontsize=style.SMALL)
            difference_label = f"difference\n×{gain:.3g}" if changed else "difference\n(none)"
            for axes, label in zip(
                grid[:, 0], ("clean", "triggered", difference_label), strict=True
            ):
                axes.set_ylabel(label)
            style.headline(figure, "What the trigger changes", _note(view, table))
        return figure


def _change(images: Tensor, originals: Tensor) -> Tensor:
    """Signed change in grey levels: int16."""
    return images.to(torch.int16) - originals.to(torch.int16)


def _verdict(axes: Axes, view: AnalysisView, row: pd.Series, predicted: int) -> None:
    """Say below an image what the victim takes it for: blue if right, vermilion if the target."""
    colors = {row["target"]: style.VERMILION, row["label"]: style.BLUE}
    axes.set_xlabel(
        f"→ {common.class_name(view, predicted)}",
        fontsize=style.SMALL,
        color=colors.get(predicted, style.MUTED),
    )


def _note(view: AnalysisView, table: pd.DataFrame) -> str:
    """One line over all the triggered test images."""
    changed = table[table["max_change"] > 0]
    means = f"mean PSNR {changed['psnr'].mean():.1f} dB, " if len(changed) else ""
    return (
        f"{view.run}: {len(table)} triggered test images, {means}SSIM {table['ssim'].mean():.3f}.\n"
        f"Arrows give what {view.who} answers: blue is the true class, red the target. "
        "In the difference, grey is unchanged."
    )
