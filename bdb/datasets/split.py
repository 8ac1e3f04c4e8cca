"""The defender's clean set: a class-balanced part of the training set.

Pure arithmetic, without torch, so that planning the grid can ask how many images each class keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def clean_counts(class_counts: Sequence[int], fraction: float) -> list[int]:
    """How many images the clean set takes of each class: `fraction` in all, largest remainder."""
    shares = np.asarray(class_counts, dtype=float) * fraction
    counts = np.floor(shares).astype(int)
    missing = round(sum(class_counts) * fraction) - int(counts.sum())
    by_remainder = np.argsort(-(shares - counts), kind="stable")
    counts[by_remainder[: max(missing, 0)]] += 1
    return [int(count) for count in counts]


def clean_mask(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the clean set: a boolean mask over the training set."""
    counts = clean_counts(np.bincount(labels).tolist(), fraction)
    mask = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        mask[rng.choice(members, count, replace=False)] = True
    return mask
