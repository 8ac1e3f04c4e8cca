"""A few clean and backdoored models under a detector: the table, the ranks, both engines."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from bdb.report import population

pytestmark = pytest.mark.evidence


@pytest.fixture(scope="module")
def made(new_project: Callable[..., Any]) -> Any:
    project = new_project()
    project.params |= {
        "grid": {
            "dataset": ["digits"],
            "model": ["convnet"],
            "attack": ["none", "none_robust", "badnets"],
            "poison_ratio": [0.1],
            "seed": [0, 1],
            "defense": ["head_norm"],
            "analysis": [],
        },
        "attacks": {"none_robust": {"method": "none", "eps": 8, "steps": 1}},
    }
    project.params["training"]["epochs"] = 8
    project.save()
    project.init_dvc()
    project.make()
    return project


def test_every_model_has_a_row_with_its_rank(made: Any) -> None:
    found = population.read(made.folder / "results" / "population.csv")
    rows = dict(iter(found.groupby("attack")))
    assert {attack: len(group) for attack, group in rows.items()} == {
        "none": 2, "none_robust": 2, "badnets": 2,
    }  # fmt: skip
    assert set(rows["badnets"]["calibration"]) == {"2 clean models"}
    assert set(rows["none"]["calibration"]) == {"1 clean model"}
    assert set(rows["badnets"]["label"]) == {"backdoored"}
    assert set(rows["badnets"]["targets"]) == {"0"}
    board = pd.read_csv(made.folder / "results" / "board.csv", keep_default_na=False)
    assert {"score", "p_value", "calibration"} <= set(board.columns)


def test_the_robust_ones_were_trained_otherwise(made: Any) -> None:
    robust = made.folder / "results/victims/digits/convnet/none_robust/0/s0/history.parquet"
    clean = made.folder / "results/clean/digits/convnet/s0/history.parquet"
    losses = [pd.read_parquet(path)["loss"].tolist() for path in (robust, clean)]
    assert losses[0] != losses[1]


def test_nothing_is_left_for_either_engine(made: Any) -> None:
    made.check_nothing_is_left()
