import numpy as np
import pytest
from scipy import stats

from bdb.metrics import paired

SCORES = np.array([[0.9, 0.8, 0.7], [0.9, 0.9, 0.1], [0.5, 0.6, 0.4], [0.3, 0.2, 0.2]])


def test_ranks_are_means_over_problems_and_ties_share() -> None:
    found = paired.ranks(SCORES)
    assert found.mean.tolist() == [(1 + 1.5 + 2 + 1) / 4, (2 + 1.5 + 1 + 2.5) / 4, 11.5 / 4]
    assert found.statistic == pytest.approx(stats.friedmanchisquare(*SCORES.T).statistic)
    assert 0.05 < found.p < 0.1


def test_the_critical_difference_is_that_of_the_textbook() -> None:
    # Demsar (2006): four methods on 14 data sets, q = 2.569.
    found = paired.ranks(np.random.default_rng(0).random((14, 4)))
    assert found.critical_difference == pytest.approx(2.569 * np.sqrt(20 / 84), abs=1e-3)


def test_two_methods_have_ranks_but_no_friedman() -> None:
    found = paired.ranks(np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert found.mean.tolist() == [1, 2]
    assert np.isnan(found.p)


def test_methods_that_are_all_alike_share_their_rank() -> None:
    found = paired.ranks(np.ones((4, 3)))
    assert found.mean.tolist() == [2, 2, 2]
    assert np.isnan(found.statistic)


def test_holm_multiplies_the_smallest_most_and_never_lets_a_larger_p_become_smaller() -> None:
    assert paired.holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx(
        [0.03, 0.06, 0.06, np.nan], nan_ok=True
    )
    assert paired.holm(np.array([0.6, 0.5])).tolist() == [1, 1]


def test_the_signed_rank_test_counts_signs_and_sizes() -> None:
    assert paired.signed_rank_p(np.zeros(6)) == 1
    # All six alike in sign: two of the 64 ways are as extreme.
    assert paired.signed_rank_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx(2 / 64)


@pytest.mark.parametrize("shift", [-0.05, -0.01, 0.0, 0.02, 0.04])
def test_chances_are_those_of_the_definition(shift: float) -> None:
    differences = np.random.default_rng(1).normal(shift, 0.05, 9)
    values = np.append(differences, 0.0)
    sums = values[:, None] + values[None]
    wins = np.zeros(3)
    draws = np.random.default_rng(2).dirichlet(np.ones(10), 4000)
    for weights in draws:
        pairs = np.outer(weights, weights)
        parts = [
            pairs[sums < -0.04].sum(),
            pairs[abs(sums) <= 0.04].sum(),
            pairs[sums > 0.04].sum(),
        ]
        wins[int(np.argmax(parts))] += 1
    assert paired.chances(differences, 0.02) == pytest.approx(wins / 4000, abs=0.05)


def test_chances_add_up_and_turn_with_the_sign() -> None:
    differences = np.random.default_rng(0).normal(0.03, 0.1, 20)
    worse, same, better = paired.chances(differences, 0.02)
    assert worse + same + better == pytest.approx(1)
    assert better > worse
    flipped = paired.chances(-differences, 0.02)
    assert flipped == pytest.approx((better, same, worse), abs=0.05)


def test_the_bootstrap_takes_whole_groups() -> None:
    values = np.array([0.0] * 50 + [1.0] * 50)
    groups = np.array(["a"] * 50 + ["b"] * 50)
    assert paired.interval_over_groups(values, groups) == (0, 1)  # not .4 to .6
    assert np.isnan(paired.interval_over_groups(values, np.array(["a"] * 100))).all()
