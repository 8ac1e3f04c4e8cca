"""Whether answers are as sure as they are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


def binned(confidence: Tensor, right: Tensor, hit: Tensor, bins: int) -> pd.DataFrame:
    """Means by bin, NaN where it is empty; a confidence on a bin's upper end belongs to it."""
    import pandas as pd

    edges = np.arange(bins + 1) / bins
    at = np.clip(np.ceil(confidence.double().numpy() * bins - 1e-9).astype(int) - 1, 0, bins - 1)
    columns = {"confidence": confidence, "right": right, "hit": hit}
    values = pd.DataFrame({name: each.double().numpy() for name, each in columns.items()})
    grouped = values.groupby(at)
    table = grouped.mean().reindex(range(bins))
    table.insert(0, "count", grouped.size().reindex(range(bins), fill_value=0))
    return table.assign(low=edges[:-1], high=edges[1:])[["low", "high", *table.columns]]


def calibration_error(rows: pd.DataFrame) -> float:
    """Expected calibration error of one split: from 0 to 1."""
    gaps = (rows["right"] - rows["confidence"]).abs().fillna(0)
    return float((gaps * rows["count"]).sum() / max(rows["count"].sum(), 1))
