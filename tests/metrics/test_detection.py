import math

import numpy as np
import pytest

from bdb.metrics import detection

TRUTH = np.array([False] * 98 + [True] * 2)


def test_decisions_by_hand() -> None:
    flagged = np.zeros(100, dtype=bool)
    flagged[[0, 1, 98]] = True
    rates = detection.rates(TRUTH, flagged)
    assert rates["tpr"] == 0.5
    assert rates["fpr"] == pytest.approx(2 / 98)
    assert rates["f1"] == pytest.approx(2 / 5)


def test_nothing_flagged_misses_everything() -> None:
    rates = detection.rates(TRUTH, np.zeros(100, dtype=bool))
    assert math.isnan(rates.pop("flagged_cross"))
    assert rates == {"tpr": 0.0, "fpr": 0.0, "f1": 0.0}


def test_flagged_cross_samples_are_a_share_of_their_own_and_no_false_positives() -> None:
    flagged, cross = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    cross[:8] = True
    flagged[[0, 1, 50, 98]] = True
    rates = detection.rates(TRUTH, flagged, cross)
    assert rates["flagged_cross"] == pytest.approx(2 / 8)
    assert rates["fpr"] == pytest.approx(1 / 90)
    assert rates["tpr"] == 0.5
    assert rates["f1"] == pytest.approx(2 / 4)


def test_without_poison_only_false_positives_are_counted() -> None:
    rates = detection.rates(np.zeros(10, dtype=bool), np.arange(10) < 3)
    assert rates["fpr"] == pytest.approx(0.3)
    assert all(math.isnan(rates[name]) for name in ("tpr", "f1", "flagged_cross"))


def test_higher_is_more_suspicious() -> None:
    good = detection.ranking(TRUTH, np.arange(100.0))
    assert good["auroc"] == 1.0
    assert good["tpr_at_1_fpr"] == 1.0
    bad = detection.ranking(TRUTH, -np.arange(100.0))
    assert bad["auroc"] == 0.0
    assert bad["tpr_at_5_fpr"] == 0.0


def test_what_cannot_be_ranked_is_not_a_number() -> None:
    alone = detection.ranking(np.zeros(5, dtype=bool), np.arange(5.0))
    assert all(math.isnan(value) for value in alone.values())
    unscored = detection.ranking(TRUTH, np.full(100, np.nan))
    assert all(math.isnan(value) for value in unscored.values())
    assert math.isnan(detection.rates(np.zeros(5, dtype=bool), np.ones(5, dtype=bool))["tpr"])
