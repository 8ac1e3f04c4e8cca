import pandas as pd
import pytest

from bdb.metrics import classification


def table(rows: list[tuple[str, int, int, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["split", "label", "target", "predicted"])


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
    assert classification.rates(table(ROWS)) == {"c_acc": 0.5, "asr": 0.5, "ra": 0.25}


def test_a_defense_pays_for_the_accuracy_it_costs() -> None:
    victim = {"c_acc": 0.9, "asr": 1.0, "ra": 0.0}
    cheap = {"c_acc": 0.9, "asr": 0.2, "ra": 0.7}
    dear = {"c_acc": 0.6, "asr": 0.2, "ra": 0.7}
    assert classification.defense_effectiveness(victim, cheap) == pytest.approx(0.9)
    assert classification.defense_effectiveness(victim, dear) == pytest.approx(0.75)
    assert classification.robust_improvement(victim, cheap) == pytest.approx(0.85)
    assert classification.robust_improvement(victim, dear) == pytest.approx(0.7)
    assert classification.defense_effectiveness(victim, victim) == 0.5
