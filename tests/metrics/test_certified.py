import numpy as np
import pandas as pd
import pytest

from bdb.metrics import certified

NAN = float("nan")


def table(certificates: list[float], predicted: list[int], split: str = "test") -> pd.DataFrame:
    columns = {"label": 0, "predicted": predicted, "certificate": certificates}
    return pd.DataFrame({"split": split, **columns})


def test_an_answer_counts_if_it_is_right_and_certified() -> None:
    clean = table([0.0, 1.0, 2.0, 2.0, 9.0, NAN], [0, 0, 0, -1, 1, 0])
    triggered = table([50.0] * 4, [0] * 4, "triggered")
    found = certified.curve(pd.concat([clean, triggered]))
    assert found == {"radius": [0.0, 1.0, 2.0], "accuracy": [3 / 6, 2 / 6, 1 / 6]}


def test_of_many_radii_a_few_are_taken_from_first_to_last() -> None:
    draws = np.random.default_rng(0).uniform(0, 4, 1000)
    found = certified.curve(table(draws.tolist(), [0] * 1000), points=9)
    assert found["radius"] == pytest.approx(np.linspace(0, draws.max(), 9))
    assert found["accuracy"][0] == 1
    assert found["accuracy"][-1] == 1 / 1000
    assert (np.diff(found["accuracy"]) <= 0).all()
    assert found["accuracy"][4] == pytest.approx((draws >= draws.max() / 2).mean())


@pytest.mark.parametrize("certificates", [[], [NAN, NAN]])
def test_where_nothing_is_certified_the_curve_is_a_zero(certificates: list[float]) -> None:
    found = certified.curve(table(certificates, [0] * len(certificates)))
    assert found == {"radius": [0.0], "accuracy": [0.0]}
