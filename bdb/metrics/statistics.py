"""What a few seeds and a few methods allow to be said."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, permutations
from math import factorial, inf, nan

import numpy as np

_MOST = 5040  # permutations that are tried: all of them up to seven methods
_CHUNK = 512


def interval(values: np.ndarray, lowest: float = -inf, highest: float = inf) -> tuple[float, float]:
    """The 95 % interval of a mean (Student's t), cut to where it can lie; NaN for one value.

    Args:
        values: float, N; NaN is left out.
        lowest: no mean can lie below.
        highest: nor above.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return nan, nan
    _, low, high, *_ = summaries(values[None], lowest, highest)
    return float(low[0]), float(high[0])


def summaries(rows: np.ndarray, lowest: float = -inf, highest: float = inf) -> np.ndarray:
    """Mean, both ends of its 95 % interval, least and greatest of each row: 5 x N.

    Args:
        rows: float, N x M, at least one column, all finite.
        lowest: no mean can lie below.
        highest: nor above.
    """
    from scipy import stats

    count, mean = rows.shape[1], rows.mean(axis=1)
    half = np.full(len(rows), nan)
    if count > 1:
        half = stats.t.ppf(0.975, count - 1) * rows.std(axis=1, ddof=1) / np.sqrt(count)
    low, high = np.maximum(lowest, mean - half), np.minimum(highest, mean + half)
    return np.stack([mean, low, high, rows.min(axis=1), rows.max(axis=1)])


def by_group(
    values: np.ndarray, groups: np.ndarray, lowest: float = -inf, highest: float = inf
) -> np.ndarray:
    """The `summaries` of each group's values, NaN left out: 5 x G; NaN of a group without any.

    Args:
        values: float, N.
        groups: int, N: which group each is of; all are named.
        lowest: no mean can lie below.
        highest: nor above.
    """
    found = np.full((5, int(groups.max(initial=-1)) + 1), nan)
    known = np.isfinite(values)
    order = groups[known].argsort(kind="stable")
    values, sizes = values[known][order], np.bincount(groups[known], minlength=found.shape[1])
    starts = sizes.cumsum() - sizes
    for size in np.unique(sizes[sizes > 0]):  # A table per size; seeds are few, and so are these.
        alike = np.flatnonzero(sizes == size)
        rows = values[starts[alike, None] + np.arange(size)]
        found[:, alike] = summaries(rows, lowest, highest)
    return found


def tau_p(one: np.ndarray, other: np.ndarray) -> float:
    """How often chance orders two lists as alike, or as unlike, as Kendall's tau says they are.

    Two-sided. Exact over all orders of up to seven items; of more, 5,040 orders are drawn, always
    the same, and the one that was seen counts among them. NaN for less than two items, or where
    either list holds one value only.

    Args:
        one: float, N.
        other: float, N.
    """
    if len(one) < 2 or min(len(set(one)), len(set(other))) < 2:
        return nan
    first, second = _signs(one[None])[0], other
    seen = abs(int((first * _signs(second[None])[0]).sum()))
    exact = factorial(len(one)) <= _MOST
    hits = tried = 0
    for orders in _orders(len(one), exact):
        agreement = (first * _signs(second[orders])).sum(axis=(1, 2), dtype=np.int64)
        hits += int((np.abs(agreement) >= seen).sum())
        tried += len(orders)
    return hits / tried if exact else (hits + 1) / (tried + 1)


def _signs(values: np.ndarray) -> np.ndarray:
    """Which of two items is the larger, for all pairs: M x N -> int8, M x N x N."""
    return np.sign(values[:, :, None] - values[:, None, :]).astype(np.int8)


def _orders(count: int, exact: bool) -> Iterator[np.ndarray]:
    """Orders of so many items in chunks: int, M x count."""
    rng = np.random.default_rng(0)
    drawn = (rng.permutation(count) for _ in range(_MOST))
    orders = iter(permutations(range(count))) if exact else drawn
    while chunk := list(islice(orders, _CHUNK)):
        yield np.array(chunk)
