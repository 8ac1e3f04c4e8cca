"""A list of clean sets in both engines: what a longer list leaves as it is, and what DVC keeps."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.evidence

RUN = "digits/convnet/badnets/0.1/s0"


@pytest.fixture(scope="module")
def made(new_project: Callable[..., Any]) -> Any:
    project = new_project()
    project.params["grid"] |= {"defense": ["ft", "clp"], "analysis": ["radar"]}
    project.params |= {
        "defenses": {"ft": {"epochs": 1}},
        "clean_set": [
            {"source": "reserved", "fraction": 0.2},
            {"source": "seen", "fraction": 0.05},
        ],
    }
    project.params["training"]["epochs"] = 1
    project.save()
    project.init_dvc()
    project.make()
    return project


def names(made: Any) -> list[str]:
    board = pd.read_csv(made.folder / "results" / "board.csv", keep_default_na=False)
    return board["defense"].tolist()


def test_there_is_a_cell_for_each_set_and_a_picture_of_each_cell(made: Any) -> None:
    assert names(made) == ["none", "ft@reserved-0.2", "ft@seen-0.05", "clp"]
    pictures = made.folder / "results" / "analyses" / RUN
    for name in ("ft@reserved-0.2", "ft@seen-0.05", "clp"):
        assert (pictures / name / "radar.svg").is_file()


def test_nothing_is_left_for_either_engine(made: Any) -> None:
    made.check_nothing_is_left()


def test_one_more_set_is_one_more_cell_and_nothing_else(made: Any) -> None:
    made.params["clean_set"].append({"source": "ood", "fraction": 0.1})
    made.save()
    made.forget_logs()
    done = made.dvc("repro")
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(made) == ["none", "ft@reserved-0.2", "ft@seen-0.05", "ft@ood-0.1", "clp"]
    computed = [log for log in made.computed() if not log.startswith("analyze")]
    assert computed == [f"defend/{RUN}/ft@ood-0.1.log", f"evaluate/{RUN}.log", "report.log"]
