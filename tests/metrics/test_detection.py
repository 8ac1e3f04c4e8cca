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
    assert rates == {"tpr": 0.0, "fpr": 0.0, "f1": 0.0}


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
