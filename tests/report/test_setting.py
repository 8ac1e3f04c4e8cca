from typing import Any

import pytest
import yaml

from bdb import params, presets
from bdb.jobs import catalogue, plan
from bdb.report import setting

CATALOGUE = catalogue.load()


def described(defense: str = "ft", dataset: str = "digits", **sections: Any) -> str:
    raw = yaml.safe_load(presets.text("demo")) | {"attacks": {}, "defenses": {}} | sections
    raw["grid"] |= {"dataset": [dataset], "model": ["preactresnet18"], "attack": ["badnets"]}
    made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    return setting.describe(made, made.runs[0], defense)


def test_defaults_are_no_change() -> None:
    assert described() == ""
    assert described(attacks={"badnets": {"target": 0}}, models={"preactresnet18": {}}) == ""
    assert described(training={"recipe": "paper", "lr": 0.01}, dataset="cifar10") == ""
    assert described(clean_set={"fraction": 0.2}) == ""
    assert described(clean_set={"fraction": 0.05}, dataset="cifar10") == ""


def test_what_the_data_set_changes_in_a_recipe_is_no_change() -> None:
    training = {"recipe": "paper", "epochs": 50}
    assert described(training=training, dataset="gtsrb") == ""
    assert described(training=training, dataset="cifar10") == "training.epochs=50"


def test_every_part_is_named_in_a_fixed_order() -> None:
    changed = described(
        defenses={"ft": {"lr": 0.2, "epochs": 40}, "fp": {"epochs": 3}},
        attacks={"badnets": {"target": 1}, "wanet": {"noise": 4.0}},
        models={"preactresnet18": {"width": 16}},
        datasets={"digits": {"crop_padding": 2}},
        training={"recipe": "fast", "schedule": "cosine", "augment": False},
        clean_set={"source": "seen", "fraction": 0.1},
    )
    assert changed == (
        "digits.crop_padding=2 preactresnet18.width=16 badnets.target=1 "
        "training.augment=false training.schedule=cosine clean_set.fraction=0.1 "
        "ft.epochs=40 ft.lr=0.2"
    )


@pytest.mark.parametrize("defense", ["none", "strip"])
def test_a_row_has_nothing_to_do_with_another_defense(defense: str) -> None:
    assert described(defense, defenses={"ft": {"epochs": 40}}) == ""


def test_a_list_has_no_spaces() -> None:
    assert described("nad", defenses={"nad": {"betas": [5.0, 10.0]}}) == "nad.betas=[5.0,10.0]"
