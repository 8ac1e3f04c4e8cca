from pathlib import Path

import pandas as pd
import pytest
import yaml
from markupsafe import escape

from bdb import artifacts, layout, params, presets
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import REPORT, Jobs
from bdb.report import board as boards
from bdb.report import gallery
from bdb.stages import report

VARY = {"board.parquet", "costs.csv", "population.csv", "population.md", "report/index.html"}


@pytest.fixture(scope="module")
def jobs() -> Jobs:
    raw = yaml.safe_load(presets.text("smoke"))
    raw["grid"]["analysis"] = []
    methods = catalogue.load()
    return Jobs(plan.make(params.parse(raw, methods), methods))


def write(folder: Path, jobs: Jobs, board: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(boards, "make", lambda _: board)
    monkeypatch.setattr(gallery, "make", lambda _: {})
    for run in jobs.plan.runs:
        history = pd.DataFrame({"epoch": [0, 1], "loss": [2.0, 0.5], "lr": [0.1, 0.0]})
        artifacts.write_table(layout.victim(run) / "history.parquet", history)
    report.run(jobs)
    return folder / "results"


def test_every_epoch_of_every_victim_has_a_row(
    jobs: Jobs, board: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = pd.read_csv(write(tmp_path / "it", jobs, board, monkeypatch) / "training.csv")
    run = "digits/convnet/badnets/0.1/s0"
    assert curves[curves["run"] == run][["epoch", "loss"]].to_numpy().tolist() == [[0, 2], [1, 0.5]]
    assert set(curves["run"]) == set(map(str, jobs.plan.runs))


def test_a_run_that_took_longer_writes_the_same_bytes_but_for_the_costs(
    jobs: Jobs, board: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slower = board.assign(seconds=board["seconds"] * 1.7, memory_mb=board["memory_mb"] + 1)
    one = write(tmp_path / "one", jobs, board, monkeypatch)
    two = write(tmp_path / "two", jobs, slower, monkeypatch)
    differ = {name for name in REPORT if (one / name).read_bytes() != (two / name).read_bytes()}
    assert differ == VARY
    again = write(tmp_path / "again", jobs, board, monkeypatch)
    assert all((one / name).read_bytes() == (again / name).read_bytes() for name in REPORT)


def test_the_costs_stand_in_their_own_table_and_in_the_full_one(
    jobs: Jobs, board: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = write(tmp_path / "it", jobs, board, monkeypatch)
    costs, split = pd.read_csv(results / "costs.csv"), pd.read_csv(results / "board.csv")
    assert list(costs.columns) == [*boards.KEYS, "seconds", "memory_mb", "date"]
    pd.testing.assert_frame_equal(costs[boards.KEYS], split[boards.KEYS])
    full = pd.read_parquet(results / "board.parquet")
    empty = {name for name in boards.SOME if full[name].isna().all()}
    assert set(full.columns) == {*costs.columns, *split.columns, *empty}
    summary = pd.read_csv(results / "summary.csv")
    assert not any("seconds" in name for name in (*summary.columns, *split.columns))
    assert '"seconds_mean"' in (results / "report" / "index.html").read_text()


def test_the_page_says_what_the_methods_are_and_whom_an_attack_stands_for(
    jobs: Jobs, board: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (write(tmp_path / "it", jobs, board, monkeypatch) / "report/index.html").read_text()
    for kind, name in (("attack", "badnets"), ("defense", "strip")):
        summary = escape(jobs.catalogue.get(kind, name).summary)
        assert f"<dt>{name}</dt><dd>{summary}" in page
    assert page.count("MITRE ATLAS AML.T0020") == 1
