"""Certified accuracy: how many answers are right, and proven to stay so."""

from __future__ import annotations

import numpy as np
import pandas as pd


def curve(table: pd.DataFrame, points: int = 50) -> dict[str, list[float]]:
    """The share of clean test images that are right and certified to stand at least a radius.

    Args:
        table: predictions with a column `certificate`: float, at least 0, NaN where nothing is
            certified.
        points: of more radii than these, as many are taken, evenly spaced.

    Returns:
        `radius`, ascending from 0 to the largest of a right answer, and `accuracy` at each, a
        fraction of all clean test images, which cannot rise.
    """
    clean = table[table["split"] == "test"]
    stands = clean["certificate"].where(clean["predicted"] == clean["label"]).to_numpy(dtype=float)
    radii = np.unique(np.append(stands[np.isfinite(stands)], 0.0))
    if len(radii) > points:
        radii = np.linspace(0.0, radii[-1], points)
    accuracy = [float((stands >= radius).mean()) if len(stands) else 0.0 for radius in radii]
    return {"radius": radii.tolist(), "accuracy": accuracy}
