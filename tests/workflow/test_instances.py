"""Named instances and a control trained as an attack, on a grid of two products, both engines."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.evidence


def product(attacks: list[str], defenses: list[str]) -> dict[str, Any]:
    """One product; its lists are its own, since params.yaml may hold no alias."""
    return {
        "dataset": ["digits"],
        "model": ["convnet"],
        "attack": attacks,
        "poison_ratio": [0.1],
        "seed": [0],
        "defense": defenses,
        "analysis": [],
    }


@pytest.fixture(scope="module")
def made(new_project: Callable[..., Any]) -> Any:
    project = new_project()
    project.params |= {
        "grid": [
            product(["none", "badnets", "badnets_3"], ["clp_low"]),
            product(["badnets", "wanet"], ["ft_short"]),
        ],
        "attacks": {
            "badnets_3": {"method": "badnets", "target": 3},
            "wanet": {"published_augmentation": True},
        },
        "defenses": {
            "clp_low": {"method": "clp", "u": 1.0},
            "ft_short": {"method": "ft", "epochs": 1},
        },
    }
    project.params["training"]["epochs"] = 1
    project.save()
    project.init_dvc()
    project.make()
    return project


def test_the_board_is_the_union_of_the_products(made: Any) -> None:
    board = pd.read_csv(made.folder / "results" / "board.csv", keep_default_na=False)
    rows = sorted(zip(board["attack"], board["defense"], strict=True))
    assert rows == [
        ("badnets", "clp_low"),
        ("badnets", "ft_short"),
        ("badnets", "none"),
        ("badnets_3", "clp_low"),
        ("badnets_3", "none"),
        ("none", "clp_low"),
        ("none", "none"),
        ("none_wanet", "ft_short"),
        ("none_wanet", "none"),
        ("wanet", "ft_short"),
        ("wanet", "none"),
    ]
    said = dict(zip(board["attack"], board["setting"], strict=True))
    assert "badnets_3.method=badnets badnets_3.target=3" in said["badnets_3"]
    assert "none_wanet.trained_as=wanet" in said["none_wanet"]


def test_each_instance_poisons_for_its_own_target(made: Any) -> None:
    for name, target in (("badnets", 0), ("badnets_3", 3)):
        folder = made.folder / f"results/victims/digits/convnet/{name}/0.1/s0"
        table = pd.read_parquet(folder / "predictions.parquet")
        assert set(table[table["split"] == "triggered"]["target"]) == {target}


def test_a_control_of_its_own_is_not_the_clean_model(made: Any) -> None:
    own = made.folder / "results/victims/digits/convnet/none_wanet/0/s0/history.parquet"
    clean = made.folder / "results/clean/digits/convnet/s0/history.parquet"
    losses = [pd.read_parquet(path)["loss"].tolist() for path in (own, clean)]
    assert losses[0] != losses[1]


def test_nothing_is_left_for_either_engine(made: Any) -> None:
    made.check_nothing_is_left()


def test_dvc_makes_the_same_from_nothing(made: Any) -> None:
    board = (made.folder / "results" / "board.csv").read_bytes()
    params = made.params["defenses"]["ft_short"]
    params["epochs"] = 2
    made.save()
    made.forget_logs()
    done = made.dvc("repro")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [log for log in made.computed() if log.startswith("defend")]
    run = "digits/convnet"
    names = [f"{run}/badnets/0.1", f"{run}/none_wanet/0", f"{run}/wanet/0.1"]
    assert cells == [f"defend/{name}/s0/ft_short.log" for name in names]
    assert (made.folder / "results" / "board.csv").read_bytes() != board
