import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Equal commits: the board names the revision.
DATES = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-01T00:00:00Z")


@dataclass(frozen=True)
class Finished:
    """A run of the grid that nothing disturbed."""

    project: Any
    seconds: float
    board: bytes


@pytest.fixture(scope="session")
def new_grid(new_project: Callable[..., Any]) -> Callable[..., Any]:
    """Makes folders with the same small grid and the same git revision."""

    def make() -> Any:
        project = new_project()
        project.params["training"]["epochs"] = 2
        project.save()
        project.environment.update(DATES)
        project.init_dvc()
        return project

    return make


@pytest.fixture(scope="session")
def finished(new_grid: Callable[..., Any]) -> Finished:
    project = new_grid()
    start = time.monotonic()
    project.make()
    seconds = time.monotonic() - start
    assert project.is_clean()
    return Finished(project, seconds, board(project))


@pytest.fixture
def linked(new_grid: Callable[..., Any], finished: Finished) -> Any:
    """The finished grid in a folder of its own, linked from a copy of the cache."""
    project = new_grid()
    cache = Path(".dvc/cache")
    shutil.copytree(finished.project.folder / cache, project.folder / cache)
    project.make()
    assert project.computed() == []
    return project


def board(project: Any) -> bytes:
    return (project.folder / "results/board.csv").read_bytes()
