import math

import pandas as pd
import pytest

from bdb.metrics import classification


def table(rows: list[tuple[str, int, int, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["split", "label", "target", "predicted"])
    return frame.assign(is_source=True)


ROWS = [
    ("test", 0, 0, 0),
    ("test", 1, 0, 1),
    ("test", 2, 0, 0),
    ("test", 3, 0, -1),
    ("triggered", 1, 0, 0),
    ("triggered", 2, 0, 0),
    ("triggered", 3, 0, 3),
    ("triggered", 4, 0, -1),
]


def test_rates_by_hand() -> None:
    rates = classification.finite(classification.rates(table(ROWS)))
    assert rates == {"c_acc": 0.5, "asr": 0.5, "asr_worst": None, "asr_leak": None, "ra": 0.25}


def test_the_leak_is_counted_apart_from_the_source_classes() -> None:
    made = table(ROWS)
    made["is_source"] = made["label"].isin([2, 3])
    rates = classification.rates(made)
    assert (rates["asr"], rates["asr_leak"], rates["ra"]) == (0.5, 0.5, 0.5)
    made["is_source"] = made["label"].isin([1, 2])
    rates = classification.rates(made)
    assert (rates["asr"], rates["asr_leak"], rates["ra"]) == (1.0, 0.0, 0.0)


def test_the_worst_target_is_named_beside_the_mean() -> None:
    rows = [
        ("triggered", 1, 0, 0),
        ("triggered", 2, 0, 0),
        ("triggered", 1, 2, 1),
        ("triggered", 0, 2, 2),
    ]
    rates = classification.rates(table([*ROWS[:4], *rows]))
    assert (rates["asr"], rates["asr_worst"]) == (0.75, 0.5)


def test_a_defense_pays_for_the_accuracy_it_costs() -> None:
    victim = {"c_acc": 0.9, "asr": 1.0, "ra": 0.0}
    cheap = {"c_acc": 0.9, "asr": 0.2, "ra": 0.7}
    dear = {"c_acc": 0.6, "asr": 0.2, "ra": 0.7}
    assert classification.defense_effectiveness(victim, cheap) == pytest.approx(0.9)
    assert classification.defense_effectiveness(victim, dear) == pytest.approx(0.75)
    assert classification.robust_improvement(victim, cheap) == pytest.approx(0.85)
    assert classification.robust_improvement(victim, dear) == pytest.approx(0.7)
    assert classification.defense_effectiveness(victim, victim) == 0.5


def test_cross_accuracy_is_over_triggers_that_must_not_work() -> None:
    crossed = pd.DataFrame(
        {"split": ["test", "cross", "cross", "cross"], "label": [0, 1, 2, 3]}
    ).assign(target=lambda rows: rows["label"], predicted=[1, 1, 2, 0])
    assert classification.cross_accuracy(crossed) == pytest.approx(2 / 3)
    assert math.isnan(classification.cross_accuracy(crossed[:1]))
