"""DVC over the smoke grid: what it shows, and what it computes again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bdb.jobs.jobs import STAGES

RUN = "digits/convnet/badnets/0.1/s0"
RATE = "defenses.strip.false_positive_rate"


@pytest.fixture(scope="module")
def made(new_project: Callable[..., Any]) -> Any:
    """The smoke grid, made once and committed."""
    project = new_project()
    project.params["training"]["epochs"] = 2
    project.params["defenses"] = {"strip": {"false_positive_rate": 0.05, "overlays": 4}}
    project.save()
    project.init_dvc()
    project.make()
    project.commit("Make the grid")
    return project


def ran(project: Any, *arguments: str) -> str:
    """What a DVC command printed."""
    done = project.dvc(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        path.write_text(text)


@contextmanager
def changed_rate(project: Any, rate: float) -> Iterator[None]:
    strip = project.params["defenses"]["strip"]
    old = strip["false_positive_rate"]
    for value in (rate, old):
        strip["false_positive_rate"] = value
        project.save()
        if value == rate:
            project.forget_logs()
            project.make()
            yield
    project.make()


def test_dvc_names_every_stage(made: Any) -> None:
    shown = ran(made, "dag")
    assert all(re.search(rf"\b{stage}\b", shown) for stage in STAGES)


def test_after_a_run_nothing_is_left_to_do(made: Any) -> None:
    assert made.is_clean()
    assert "Data and pipelines are up to date" in ran(made, "repro")
    assert "Nothing to be done" in made.make()
    assert made.planned() == {}


def test_sync_and_a_lost_record_leave_both_engines_idle(made: Any) -> None:
    assert ", 0 restored, 0 files dropped" in made.bdb("sync").stdout
    assert made.planned() == {}
    shutil.rmtree(made.folder / ".snakemake")
    assert made.planned() == {}
    assert made.is_clean()


@pytest.mark.evidence
def test_dvc_shows_what_a_parameter_changes(made: Any) -> None:
    assert "asr" in ran(made, "metrics", "show")
    with changed_rate(made, 0.3):
        assert made.computed() == [f"defend/{RUN}/strip.log", f"evaluate/{RUN}.log", "report.log"]
        assert f"{RATE} 0.05 0.3" in squeezed(ran(made, "params", "diff"))
        lines = ran(made, "metrics", "diff").splitlines()
        changes = [line for line in lines if line.startswith("results/metrics.json")]
        assert changes
        assert all("strip" in line for line in changes)
    assert made.is_clean()


def squeezed(text: str) -> str:
    return re.sub(r" +", " ", text)


def test_the_plots_are_pictures_that_need_no_network(made: Any) -> None:
    shown = ran(made, "plots", "show", "--out", "shown")
    page = (made.folder / "shown/index.html").read_text()
    pictures = re.findall(r'<img[^>]*src="([^"]+)"', page)
    assert len(pictures) == len(list((made.folder / "results/plots").glob("*.svg"))), shown
    for source in pictures:
        assert source.startswith("data:image/svg") or (made.folder / "shown" / source).is_file()
    curve = json.loads(ran(made, "plots", "show", "training", "--show-vega"))
    assert [row["run"] for row in curve["data"]["values"]] == [RUN] * len(curve["data"]["values"])
    assert curve["encoding"]["color"]["field"] == "run"
    shutil.rmtree(made.folder / "shown")


@pytest.mark.evidence
def test_an_experiment_computes_its_defense_alone(made: Any) -> None:
    before = (made.folder / "results/metrics.json").read_text()
    made.forget_logs()
    ran(made, "exp", "run", "--set-param", f"{RATE}=0.1")
    assert made.computed() == [f"defend/{RUN}/strip.log", f"evaluate/{RUN}.log", "report.log"]
    assert (made.folder / "results/metrics.json").read_text() != before
    assert "0.1" in ran(made, "exp", "show", "--csv")
    made.save()
    made.make()
    assert made.is_clean()


@pytest.mark.evidence
def test_a_comment_computes_nothing(made: Any) -> None:
    with edited(
        made.folder / "bdb/attacks/data_poisoning/badnets.py",
        "\n@register",
        "\n# A remark.\n@register",
    ):
        assert made.planned() == {}
        made.forget_logs()
        ran(made, "repro")
        assert made.computed() == []
    ran(made, "repro")


@pytest.mark.evidence
def test_an_edit_of_a_defense_computes_its_cell_and_what_follows(made: Any) -> None:
    with edited(
        made.folder / "bdb/defenses/pre_training/ac.py", "KMeans(2, n_init=10", "KMeans(2, n_init=9"
    ):
        made.forget_logs()
        made.make()
        follow = {f"evaluate/{RUN}.log", "report.log"}
        computed = set(made.computed())
        assert f"defend/{RUN}/ac.log" in computed
        assert computed <= {f"defend/{RUN}/ac.log", *follow}
    made.forget_logs()
    made.make()
    assert made.computed() == []


def test_a_lost_grid_is_linked_again(made: Any) -> None:
    before = (made.folder / "results/board.csv").read_bytes()
    for name in ("data", "results", ".snakemake", "logs"):
        shutil.rmtree(made.folder / name)
    made.make()
    assert made.computed() == []
    assert (made.folder / "results/board.csv").read_bytes() == before
    assert made.is_clean()
