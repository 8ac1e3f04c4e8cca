import math

import numpy as np
import pandas as pd
import pytest

from bdb.stages.evaluate import Samples, _detection, _targets

TRAIN = pd.DataFrame(
    {
        "source": "train",
        "index": range(10),
        "score": [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
        "flagged": [True] * 4 + [False] * 6,
    }
)
INPUTS = pd.DataFrame(
    {
        "source": ["test"] * 6 + ["triggered"] * 4,
        "index": [0, 1, 2, 3, 4, 5, 0, 1, 2, 3],
        "score": [0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 5.0, 6.0, 7.0, 8.0],
        "flagged": [False] * 5 + [True] + [True] * 4,
    }
)


def test_cross_samples_count_neither_as_poison_nor_as_clean() -> None:
    found = _detection(TRAIN, Samples(np.array([1, 2]), np.array([0, 3]), attacked=True))
    assert (found["tpr"], found["fpr"], found["flagged_cross"]) == (1.0, 0.0, 1.0)
    assert found["auroc"] == 1.0


def test_triggered_inputs_are_the_positives_of_an_attack() -> None:
    found = _detection(INPUTS, Samples(np.empty(0), np.empty(0), attacked=True))
    assert found["tpr"] == 1.0
    assert found["fpr"] == pytest.approx(1 / 6)
    assert found["auroc"] == pytest.approx(20 / 24)


def test_on_the_control_no_image_is_positive() -> None:
    found = _detection(INPUTS, Samples(np.empty(0), np.empty(0), attacked=False))
    assert found["fpr"] == pytest.approx(5 / 10)
    undefined = {"tpr", "f1", "auroc", "average_precision", "tpr_at_1_fpr", "flagged_cross"}
    assert all(math.isnan(found[name]) for name in undefined)


def test_the_targets_are_those_of_the_classes_that_the_trigger_is_meant_for() -> None:
    rows = [("triggered", 5, True), ("triggered", 2, True), ("triggered", 5, True)]
    rows += [("triggered", 7, False), ("test", 8, True)]
    table = pd.DataFrame(rows, columns=["split", "target", "is_source"])
    assert _targets(table) == [2, 5]
