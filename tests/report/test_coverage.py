"""A plan beside the published grid."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bdb import params, presets
from bdb.jobs import catalogue, plan
from bdb.report import coverage

CATALOGUE = catalogue.load()


def planned(preset: str = "paper", **grid: Any) -> plan.Plan:
    raw = yaml.safe_load(presets.text(preset))
    raw["grid"] |= grid
    return plan.make(params.parse(raw, CATALOGUE), CATALOGUE)


def test_the_paper_preset_spells_the_published_grid() -> None:
    """All that was published of methods that are here is planned, or left out for a reason."""
    grid = yaml.safe_load(presets.text("paper"))["grid"]
    known = coverage.published()
    for axis in ("dataset", "model", "attack", "defense"):
        there = {getattr(pair, axis) for pair in known} | ({"none"} if axis == "attack" else set())
        expected = there & set(CATALOGUE.names(axis))
        assert set(grid[axis]) == expected - ({"none"} if axis == "defense" else set())
    ratios = {pair.ratio for pair in known}
    assert set(map(str, grid["poison_ratio"])) == ratios


def test_pairs_are_counted_beside_the_published_ones() -> None:
    made = planned(dataset=["cifar10"], model=["preactresnet18"], poison_ratio=[0.1])
    made_pairs = coverage.planned(made)
    runs = sum(run.attack != "none" for run in made.runs)
    cells = sum(run.attack != "none" for run, _ in made.cells)
    assert len(made_pairs) == runs + cells
    text = coverage.text(made)
    both = len(made_pairs & coverage.published())
    assert (
        f"{len(made_pairs)} planned, 10938 with a published figure (its paper says 11492)" in text
    )
    assert f", {both} in both" in text
    counts = [int(line.split(": ")[1]) for line in text.splitlines() if "but not planned" in line]
    assert sum(counts) == 10938 - both


@pytest.mark.parametrize(
    ("grid", "pair", "reason"),
    [
        ({}, ("badnets", "0.1", "unheard_of"), "there is no defense unheard_of here"),
        ({"defense": ["ft"]}, ("badnets", "0.1", "fp"), "defense fp is not on the grid"),
        (
            {"poison_ratio": [0.1]},
            ("badnets", "0.05", "ft"),
            "poison ratio 0.05 is not on the grid",
        ),
        ({}, ("blind", "0.1", "abl"), "abl needs a training set, and blind leaves none"),
    ],
)
def test_each_published_pair_that_is_not_planned_has_a_reason(
    grid: dict[str, Any], pair: tuple[str, str, str], reason: str
) -> None:
    made = planned(dataset=["cifar10"], model=["preactresnet18"], **grid)
    one = coverage.Pair("cifar10", "preactresnet18", *pair)
    assert coverage._reasons({one}, made) == [reason]


def test_an_attack_without_a_ratio_stands_beside_the_only_one_it_was_published_at() -> None:
    made = planned(dataset=["cifar10"], model=["preactresnet18"], attack=["lira"], defense=["ft"])
    assert {pair.ratio for pair in coverage.planned(made)} == {"0.1"}
    assert coverage.planned(made) <= coverage.published()


def test_a_plan_with_nothing_published_says_nothing() -> None:
    assert coverage.text(planned("demo")) == ""
