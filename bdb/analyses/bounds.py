"""Lipschitz bounds of a network's channels, beside how far a trigger moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from bdb.models import surgery
from bdb.models.base import Classifier

if TYPE_CHECKING:
    import pandas as pd


def channel_bounds(model: Classifier, pairing: surgery.Pairing) -> dict[str, Tensor]:
    """Of each batch norm that goes with a convolution, by its name: float32, C, on the CPU."""
    names = {norm: name for name, norm in surgery.batch_norms(model).items()}
    pairs = surgery.conv_norm_pairs(model, pairing)
    return {names[norm]: surgery.lipschitz_bounds(conv, norm).cpu() for conv, norm in pairs}


def beside(bounds: dict[str, Tensor], changes: dict[str, Tensor]) -> pd.DataFrame:
    """One row per channel, layers as in `changes`; the columns are those of `lipschitz`."""
    import pandas as pd

    parts = []
    for depth, (name, change) in enumerate(changes.items()):
        columns = {
            "bound": bounds[name].double(),
            "deviation": surgery.deviations(bounds[name]),
            "tac": change,
            "share": change / change.mean().clamp(min=1e-12),
        }
        part = pd.DataFrame({column: values.numpy() for column, values in columns.items()})
        part.insert(0, "channel", range(len(part)))
        parts.append(part.assign(layer=name, depth=depth))
    table = pd.concat(parts, ignore_index=True)
    return table[["layer", "depth", *table.columns[:-2]]]


def correlations(table: pd.DataFrame) -> dict[str, float]:
    """Spearman's, of bound and change, by layer; NaN where the trigger moves nothing."""
    groups = table.groupby("layer", sort=False)[["bound", "tac"]]
    return {str(name): rows.corr("spearman").to_numpy()[0, 1].item() for name, rows in groups}
