"""Two runs in one folder: the second is refused, the first does not notice."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from bdb.console import say

pytestmark = pytest.mark.reliability


def test_a_second_run_in_the_same_folder_is_refused(
    new_grid: Callable[..., Any], finished: Any
) -> None:
    project = new_grid()
    with (project.folder / "first.log").open("w") as log:
        first = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "1"],
            cwd=project.folder,
            env=project.environment,
            stdout=log,
            stderr=log,
        )
        wait_for_jobs(project)
        second = project.snakemake()
        assert first.poll() is None
        assert second.returncode != 0
        assert "LockException" in second.stderr
        say(f"\n{second.stderr.strip()}")
        assert first.wait() == 0, (project.folder / "first.log").read_text()
    assert (project.folder / "results/board.csv").read_bytes() == finished.board
    assert project.is_clean()


def wait_for_jobs(project: Any) -> None:
    for _ in range(600):
        if list((project.folder / "logs").rglob("*.log")):
            return
        time.sleep(0.1)
    pytest.fail("the first run did not start a job")
