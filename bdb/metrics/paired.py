"""Whether one of several methods, all tried on the same problems, is better than another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import nan

import numpy as np

_DRAWS = 1000
_SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Ranks:
    """Friedman's test of several methods, and Nemenyi's critical difference.

    Attributes:
        mean: float, K: the mean rank of each method over the problems; 1 is the highest value.
        statistic: Friedman's chi-squared; NaN for fewer than three methods.
        p: how often chance alone ranks methods as differently; NaN likewise.
        critical_difference: two methods whose mean ranks lie further apart differ at the 5 % level.
    """

    mean: np.ndarray
    statistic: float
    p: float
    critical_difference: float


def ranks(scores: np.ndarray) -> Ranks:
    """Rank the methods on every problem.

    Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006.

    Args:
        scores: float, N x K: N >= 1 problems, K >= 2 methods, high is good, none missing.
    """
    from scipy import stats

    problems, methods = scores.shape
    mean = stats.rankdata(-scores, axis=1).mean(0)
    statistic, p = nan, nan
    if methods > 2 and (scores != scores[:, :1]).any():
        statistic, p = map(float, stats.friedmanchisquare(*scores.T))
    quantile = stats.studentized_range.ppf(1 - _SIGNIFICANCE, methods, np.inf) / np.sqrt(2)
    spread = np.sqrt(methods * (methods + 1) / (6 * problems))
    return Ranks(mean, statistic, p, float(quantile * spread))


def signed_rank_p(differences: np.ndarray) -> float:
    """Wilcoxon's signed-rank test, two-sided; zeros count half for either side; 1 if all are zero.

    Args:
        differences: float, N, of two methods on the same problems.
    """
    from scipy import stats

    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="zsplit").pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of several tests (1979): what each p would be were it the only one.

    Args:
        p: float, N; NaN is no test, and stays.
    """
    adjusted = np.full(len(p), nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * steps))
    return adjusted


def chances(differences: np.ndarray, margin: float) -> tuple[float, float, float]:
    """How probable it is that one method is worse than another, as good, or better.

    The Bayesian signed-rank test (Benavoli et al., Time for a Change, JMLR 2017): of 1,000
    weightings of the problems, always the same, how many find which of the three the most frequent;
    one more problem, on which both are equal, is the prior.

    Args:
        differences: float, N: the method's score less the other's; high is good.
        margin: less than this is as good.

    Returns:
        (worse, as good, better); they add up to 1.
    """
    values = np.sort(np.append(differences, 0.0))
    weights = _weightings(len(values))
    # The mean of two problems' differences: the other must reach so far, and it is sorted.
    better = _beyond(weights, np.searchsorted(values, 2 * margin - values, "right"))
    flipped = -values[::-1]
    worse = _beyond(weights[:, ::-1], np.searchsorted(flipped, 2 * margin - flipped, "right"))
    most = np.stack([worse, 1 - better - worse, better]).argmax(0)
    counts = np.bincount(most, minlength=3) / _DRAWS
    return float(counts[0]), float(counts[1]), float(counts[2])


@lru_cache(maxsize=4)
def _weightings(count: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(count), _DRAWS)


def _beyond(weights: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The weight of the pairs whose second is at `first` or after: DRAWS x N -> DRAWS."""
    tails = np.zeros((len(weights), weights.shape[1] + 1))
    tails[:, :-1] = weights[:, ::-1].cumsum(1)[:, ::-1]
    return (weights * tails[:, first]).sum(1)


def interval_over_groups(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean, where values of one group go together.

    1,000 draws of groups, always the same; NaN for a single group.

    Args:
        values: float, N.
        groups: N labels, as attacks are.
    """
    _, which = np.unique(groups, return_inverse=True)
    count = int(which.max()) + 1
    if count < 2:
        return nan, nan
    taken = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWS)
    sums, sizes = np.bincount(which, values), np.bincount(which)
    low, high = np.quantile(taken @ sums / (taken @ sizes), [0.025, 0.975])
    return float(low), float(high)
