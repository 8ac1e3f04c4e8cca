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


def test_cifar10_at_ten_percent_poisons_a_whole_class() -> None:
    made = planned(dataset=["cifar10"], attack=["sig"], poison_ratio=[0.1])
    assert not made.left_out
