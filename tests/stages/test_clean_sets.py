"""Several clean sets from the images to the board: a small run of its own."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from bdb import artifacts, params, presets
from bdb.datasets.base import ImageSet
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import STAGES, Jobs
from bdb.layout import Run
from bdb.report import board as boards
from bdb.report import compare, fields, kept
from bdb.stages import prepare
from bdb.stages.inputs import RunInputs

RUN = Run("digits", "convnet", "badnets", "0.1", 0)
KEPT = [
    {"source": source, "fraction": share} for source in ("reserved", "ood") for share in (0.05, 0.1)
]
SEEN = [{"source": "seen", "fraction": share} for share in (0.05, 0.1)]
CELLS = ("ft@reserved-0.05", "ft@ood-0.1", "ft@seen-0.1")


def planned(clean_set: Any, **grid: Any) -> Jobs:
    raw = yaml.safe_load(presets.text("smoke")) | {"clean_set": clean_set}
    raw["grid"] |= {"attack": ["none", "badnets"], "analysis": []} | grid
    raw["training"] |= {"epochs": 4}
    raw["defenses"] = {"ft": {"epochs": 2, "batch_size": 32, "lr": 0.1}}
    methods = catalogue.load()
    return Jobs(plan.make(params.parse(raw, methods), methods))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunInputs]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("drawn"))
        prepare.run(planned(KEPT), RUN.dataset)
        yield RunInputs(planned(KEPT + SEEN), RUN)


def rows(images: ImageSet) -> set[bytes]:
    return {bytes(image.numpy()) for image in images.images}


def test_a_smaller_set_is_a_part_of_the_larger(drawn: RunInputs) -> None:
    sets = [drawn.draw(each) for each in drawn.settings.clean_sets]
    for small, large in zip(sets[::2], sets[1::2], strict=True):
        assert rows(small) < rows(large)
        assert len(small) == pytest.approx(len(large) / 2, abs=1)
        assert small.labels.unique().tolist() == list(range(10))


def test_victims_see_what_is_called_seen_and_nothing_that_is_kept(drawn: RunInputs) -> None:
    by_name = {each.name: rows(drawn.draw(each)) for each in drawn.settings.clean_sets}
    given = rows(drawn.train_set)
    assert by_name["seen-0.1"] <= given
    assert given.isdisjoint(by_name["reserved-0.1"])
    assert len(given) == len(rows(RunInputs(planned(SEEN), RUN).train_set)) - len(
        by_name["reserved-0.1"]
    )


def test_the_largest_kept_set_is_what_it_is_alone(drawn: RunInputs) -> None:
    for fields_of in (KEPT[1], KEPT[3]):
        alone = RunInputs(planned(fields_of), RUN)
        many = drawn.draw(alone.given)
        assert torch.equal(many.images, alone.clean_set.images)
        assert torch.equal(drawn.train_set.ids, alone.train_set.ids)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pd.DataFrame]:
    """The board of a run under three clean sets, in whose folder the tests are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        jobs = planned([KEPT[0], KEPT[3], SEEN[1]], defense=["ft", "scan", "ac", "clp"])
        for stage in STAGES:
            module = "train" if stage == "clean" else stage
            for job in jobs.of(stage):
                named: list[Any] = list(job.arguments)
                if named and "/" in named[0]:
                    named[0] = Run.parse(named[0])
                importlib.import_module(f"bdb.stages.{module}").run(jobs, *named)
        yield artifacts.read_table(Path("results/board.parquet"))


@pytest.mark.evidence
def test_a_row_says_which_clean_set_it_is_of(board: pd.DataFrame) -> None:
    said = board[board["attack"] == "badnets"].set_index("defense")[["clean_set", "setting"]]
    assert said.loc["none", "clean_set"] == said.loc["clp", "clean_set"] == "reserved"
    assert said.loc["none", "setting"] == "training.epochs=4 clean_set.fraction=0.1"
    assert [said.loc[name, "clean_set"] for name in CELLS] == ["reserved", "ood", "seen"]
    own = fields.values(said.loc["ft@seen-0.1", "setting"], "ft@seen-0.1")
    assert own["method"] == "ft"
    assert own["clean_set.fraction"] == own["clean_set.reserved"] == 0.1
    shared = {fields.without(row.setting, name) for name, row in said.iterrows()}
    assert len(shared) == 1


@pytest.mark.evidence
def test_every_cell_is_judged_by_its_victim(board: pd.DataFrame) -> None:
    attacked = board[board["attack"] == "badnets"]
    assert attacked["failed_attack"].nunique() == 1
    assert attacked["validity"].nunique() == 1
    assert set(fields.of_victims(board)) == {"reserved"}


@pytest.mark.evidence
def test_cells_differ_where_their_images_do(board: pd.DataFrame) -> None:
    attacked = board[board["attack"] == "badnets"].set_index("defense")
    figures = attacked.loc[list(CELLS), ["c_acc", "asr", "ra"]]
    assert len(figures.drop_duplicates()) > 1
    assert attacked.loc["scan@seen-0.1", "train_auroc"] != attacked.loc["ac", "train_auroc"]


@pytest.mark.evidence
def test_the_report_has_the_table_and_the_picture(board: pd.DataFrame) -> None:
    table = pd.read_csv("results/clean_sets.csv")
    worked = not board.loc[board["attack"] == "badnets", "failed_attack"].any()
    assert worked
    assert set(table["kind"].dropna()) == {"reserved", "ood", "seen"}
    assert set(table["defense"]) == {"none", "ft", "scan", "ac", "clp"}
    assert "C-Acc and ASR against size" in Path("results/report/index.html").read_text()
    assert "<text" in Path("results/plots/clean_sets.svg").read_text()


@pytest.mark.evidence
def test_the_board_is_kept_and_compared(board: pd.DataFrame) -> None:
    kept.keep("several")
    kept.keep("several", add=True)
    again = kept.read(["several"])
    assert len(again) == len(board)
    table = compare.table(again)
    assert len(table) == len(boards.summarise(board)) == len(board)
    assert set(table["clean_set"]) == {"reserved", "ood", "seen"}
