"""A colleague who pulls has everything: nothing is planned, and going back computes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.reliability

EDITED = {"strip": {"false_positive_rate": 0.05}}
DEPENDS = {"detect": 1, "evaluate": 1, "report": 1, "record": 1}


def test_a_clone_that_pulled_has_everything(
    linked: Any, new_project: Callable[..., Any], finished: Any, tmp_path: Path
) -> None:
    share(linked, tmp_path / "remote")
    clone = clone_of(linked, new_project)
    assert clone.planned() == {}
    assert (clone.folder / "results/board.csv").read_bytes() == finished.board
    repro = clone.dvc("repro")
    assert repro.returncode == 0, repro.stdout + repro.stderr
    assert "Running stage" not in repro.stdout
    assert clone.is_clean()
    for project in (linked, clone):
        edit(project, EDITED)
        assert project.planned() == DEPENDS
    clone.make()
    assert [log.split("/")[0] for log in clone.computed()] == ["defend", "evaluate", "report.log"]
    clone.forget_logs()
    edit(clone, {})
    clone.make()
    assert clone.computed() == []
    assert (clone.folder / "results/board.csv").read_bytes() == finished.board
    assert clone.is_clean()


def share(project: Any, remote: Path) -> None:
    """Commit what was recorded, and push it."""
    assert project.dvc("remote", "add", "--default", "here", str(remote)).returncode == 0
    project.commit("Record the grid")
    pushed = project.dvc("push", "--run-cache")
    assert pushed.returncode == 0, pushed.stderr


def clone_of(project: Any, new_project: Callable[..., Any]) -> Any:
    """A clone in another folder, pulled."""
    clone = new_project()
    folder = clone.folder.with_name("clone")
    clone.git("clone", "--quiet", str(project.folder), str(folder))
    clone.folder, clone.params = folder, project.params
    clone.environment = {**project.environment, "PYTHONPATH": str(folder)}
    pulled = clone.dvc("pull", "--run-cache")
    assert pulled.returncode == 0, pulled.stderr
    return clone


def edit(project: Any, defenses: dict[str, Any]) -> None:
    project.params["defenses"] = defenses
    project.save()
