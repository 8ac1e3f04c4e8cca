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
    from scipy import stats

    values = values[np.isfinite(values)]
    if len(values) < 2:
        return nan, nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return max(lowest, float(values.mean() - half)), min(highest, float(values.mean() + half))


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
