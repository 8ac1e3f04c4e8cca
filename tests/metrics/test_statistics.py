import math

import numpy as np
import pytest

from bdb.metrics.statistics import by_group, interval, tau_p


def test_an_interval_is_students_t() -> None:
    low, high = interval(np.array([0.4, 0.5, 0.6]))
    # 4.303 times 0.1 over the square root of 3.
    assert (low, high) == pytest.approx((0.5 - 0.2484, 0.5 + 0.2484), abs=1e-4)


def test_a_rate_lies_between_0_and_1() -> None:
    assert interval(np.array([0.0, 0.0, 0.9]), 0.0, 1.0) == (0.0, 1.0)


def test_one_value_has_no_interval_and_nan_does_not_count() -> None:
    assert all(map(math.isnan, interval(np.array([0.3, math.nan]))))


def test_p_is_exact_for_few() -> None:
    # Of the six orders of three, only the same and its reverse agree so strongly.
    assert tau_p(np.array([1.0, 2, 3]), np.array([1.0, 2, 3])) == pytest.approx(2 / 6)
    assert tau_p(np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1])) == pytest.approx(2 / 24)
    assert tau_p(np.array([1.0, 2, 3]), np.array([2.0, 1, 3])) == pytest.approx(1.0)


def test_p_is_drawn_for_many_and_always_the_same() -> None:
    one = np.arange(12.0)
    assert tau_p(one, one) == tau_p(one, one) == pytest.approx(1 / 5041)


def test_p_of_ties_alone_is_not_known() -> None:
    assert math.isnan(tau_p(np.array([1.0, 1]), np.array([1.0, 2])))
    assert math.isnan(tau_p(np.array([1.0]), np.array([1.0])))


def test_groups_are_summarised_as_each_of_them_alone() -> None:
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 3, 4], [1, 3, 3, 9]))
    values = rng.random(len(groups))
    values[np.flatnonzero(groups == 4)[:2]] = np.nan
    found = by_group(values, groups, 0.1, 0.9)
    assert np.isnan(found[:, 2]).all()  # no value is of this group
    assert np.isnan(found[1:3, 0]).all()  # one value has no interval
    for group in (0, 1, 3, 4):
        own = values[(groups == group) & np.isfinite(values)]
        assert found[[0, 3, 4], group].tolist() == [own.mean(), own.min(), own.max()]
    for group in (1, 3, 4):
        own = values[groups == group]
        assert tuple(found[1:3, group]) == interval(own, 0.1, 0.9)
