"""A class-balanced part of a training set: the defender's clean set, or a share to work with.

Pure arithmetic, without torch, so that planning the grid can ask how many images each class keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def part_counts(class_counts: Sequence[int], fraction: float) -> list[int]:
    """How many images a part takes of each class: `fraction` in all, largest remainder."""
    shares = np.asarray(class_counts, dtype=float) * fraction
    counts = np.floor(shares).astype(int)
    missing = round(sum(class_counts) * fraction) - int(counts.sum())
    by_remainder = np.argsort(-(shares - counts), kind="stable")
    counts[by_remainder[: max(missing, 0)]] += 1
    return [int(count) for count in counts]


def part_mask(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a part: a boolean mask over the training set."""
    return drawn(labels, part_counts(np.bincount(labels).tolist(), fraction), rng)


def first(labels: np.ndarray, counts: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """The first images of each class in an order of the generator's, or all: a boolean mask.

    Of two counts under one seed, what the smaller gives is a part of what the larger does.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(counts):
        mask[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return mask


def drawn(labels: np.ndarray, counts: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Draw so many images of each class, or all that there are: a boolean mask."""
    mask = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        mask[rng.choice(members, min(count, len(members)), replace=False)] = True
    return mask
