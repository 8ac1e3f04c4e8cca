from typing import Any

import pytest
import yaml

from bdb import params, presets
from bdb.errors import ParamsError
from bdb.jobs import catalogue, plan, plan_text
from bdb.jobs.plan import Plan
from bdb.layout import Run

CATALOGUE = catalogue.load()


def planned(**grid: Any) -> Plan:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= grid
    return plan.make(params.parse(raw, CATALOGUE), CATALOGUE)


def test_the_clean_control_is_one_run_per_seed_whatever_the_ratios() -> None:
    made = planned(attack=["none", "badnets"], poison_ratio=[0.1, 0.05], seed=[0, 1])
    assert [str(run) for run in made.runs] == [
        "digits/convnet/none/0/s0",
        "digits/convnet/none/0/s1",
        "digits/convnet/badnets/0.1/s0",
        "digits/convnet/badnets/0.1/s1",
        "digits/convnet/badnets/0.05/s0",
        "digits/convnet/badnets/0.05/s1",
    ]


def test_an_attack_has_the_ratios_of_the_last_pattern_that_matches() -> None:
    ratios = {"*": [0.1], "b*": [0.05, 0.01], "blended": [0.2]}
    made = planned(attack=["none", "wanet", "badnets", "blended"], poison_ratio=ratios)
    assert [(run.attack, run.ratio) for run in made.runs] == [
        ("none", "0"),
        ("wanet", "0.1"),
        ("badnets", "0.05"),
        ("badnets", "0.01"),
        ("blended", "0.2"),
    ]


def test_the_control_needs_no_ratio() -> None:
    made = planned(attack=["none", "sig"], poison_ratio={"sig": [0.05]})
    assert [run.ratio for run in made.runs] == ["0", "0.05"]


def test_every_run_meets_every_defense() -> None:
    made = planned(attack=["badnets"], defense=["ft", "strip"])
    run = Run("digits", "convnet", "badnets", "0.1", 0)
    assert made.cells == ((run, "ft"), (run, "strip"))
    assert made.defenses == {run: ("ft", "strip")}


def test_a_clean_label_attack_cannot_poison_more_than_its_class() -> None:
    made = planned(attack=["none", "sig"], poison_ratio=[0.05, 0.2])
    (left,) = made.left_out
    assert left.what == "digits/convnet/sig/0.2/s0"
    assert "keeps labels clean: 229 poisons, but class" in left.reason
    assert left.what in plan_text.overview(made)


def test_a_ratio_that_poisons_nothing_is_left_out() -> None:
    made = planned(attack=["none", "badnets"], poison_ratio=[0.1, 0.0001])
    assert [left.reason for left in made.left_out] == ["0.0001 of 1146 training images is none"]


def test_an_empty_grid_is_a_mistake() -> None:
    with pytest.raises(ParamsError, match="the grid is empty: digits/convnet/sig/"):
        planned(attack=["sig"], poison_ratio=[0.9])


def test_the_plan_counts_the_share_of_the_images_that_is_used() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= {"dataset": ["cifar10"], "attack": ["sig"], "poison_ratio": [0.2]}
    raw |= {"datasets": {"cifar10": {"train_share": 0.2}}, "clean_set": {"source": "seen"}}
    with pytest.raises(ParamsError, match="2000 poisons, but class 0 has 1000 of 10000 images"):
        plan.make(params.parse(raw, CATALOGUE), CATALOGUE)


def test_cifar10_at_ten_percent_poisons_a_whole_class() -> None:
    made = planned(dataset=["cifar10"], attack=["sig"], poison_ratio=[0.1])
    assert not made.left_out
