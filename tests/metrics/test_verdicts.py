"""By cases that can be worked out by hand."""

import math

import numpy as np
import pytest

from bdb.metrics import verdicts

CLEAN = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(("score", "expected"), [(5, 1 / 5), (4, 2 / 5), (2.5, 3 / 5), (0, 1.0)])
def test_a_p_value_is_a_rank_among_clean_models(score: float, expected: float) -> None:
    assert verdicts.p_value(score, CLEAN) == pytest.approx(expected)


def test_without_clean_models_or_a_score_there_is_none() -> None:
    assert math.isnan(verdicts.p_value(5.0, CLEAN[:0]))
    assert math.isnan(verdicts.p_value(math.nan, CLEAN))


def test_auroc_counts_pairs_and_half_of_ties() -> None:
    # Of 8 pairs 5 is above 4, and 3 above 2 and level with 1.
    assert verdicts.auroc(np.array([3.0, 5.0]), CLEAN) == pytest.approx(6.5 / 8)
    assert math.isnan(verdicts.auroc(CLEAN[:0], CLEAN))


def test_its_interval_is_that_of_resampled_models() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.normal(1, 1, 60), rng.normal(0, 1, 50)
    least, most = verdicts.auroc_interval(high, low, np.random.default_rng(1))
    area = verdicts.auroc(high, low)
    assert least < area < most
    # Hanley and McNeil: the standard error of such an area is about .045.
    assert 0.12 < most - least < 0.24
    assert (least, most) == verdicts.auroc_interval(high, low, np.random.default_rng(1))


def test_it_is_a_point_where_all_is_apart_and_nothing_for_one_model() -> None:
    rng = np.random.default_rng(0)
    assert verdicts.auroc_interval(CLEAN + 10, CLEAN, rng) == (1.0, 1.0)
    assert all(map(math.isnan, verdicts.auroc_interval(CLEAN[:1], CLEAN, rng)))


def test_a_threshold_is_a_rank_among_clean_scores() -> None:
    scores = np.arange(39.0)[::-1]
    assert verdicts.threshold(scores, 0.05) == 37.0  # the 38th of 39
    assert verdicts.threshold(scores[:19], 0.05) == 38.0  # the largest
    assert verdicts.threshold(scores[:18], 0.05) == math.inf  # too few to say


def test_a_further_clean_model_exceeds_it_as_seldom_as_asked() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 60))
    above = [row[-1] > verdicts.threshold(row[:-1], 0.05) for row in draws]
    assert np.mean(above) == pytest.approx(0.05, abs=0.015)


def test_halves_have_every_model_once() -> None:
    pool, beside = verdicts.split(5, np.random.default_rng(0))
    assert (len(pool), len(beside)) == (3, 2)
    assert sorted([*pool, *beside]) == [0, 1, 2, 3, 4]


def test_two_detectors_are_combined_by_the_rank_of_their_harmonic_mean() -> None:
    clean = np.array([[1.0, 4.0], [2.0, 3.0], [3.0, 2.0], [4.0, 1.0]])
    # Highest of all to both: no clean model has as low a mean.
    assert verdicts.combined_p_value(np.array([5.0, 5.0]), clean) == pytest.approx(1 / 5)
    # Ranks of 5/5 and 2/5 among all five, as the first's: 1 + 5/2. Of the others only the second,
    # twice 5/3, is less suspicious.
    same = verdicts.combined_p_value(np.array([1.0, 4.0]), clean)
    assert same == pytest.approx(4 / 5)
    assert verdicts.combined_p_value(np.array([0.0, 0.0]), clean) == 1


def test_the_combination_keeps_its_rate_however_dependent_detectors_are() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.9, 1.0):
        common = rng.normal(size=(2000, 30, 1))
        scores = share * common + (1 - share) * rng.normal(size=(2000, 30, 3))
        found = [verdicts.combined_p_value(each[0], each[1:]) for each in scores]
        assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.025)
