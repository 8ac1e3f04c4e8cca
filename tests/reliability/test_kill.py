"""The grid killed at random moments, again and again, ends as if nothing had happened."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdb.console import say

pytestmark = pytest.mark.reliability

KILLS = 20


def test_a_grid_killed_at_random_moments_ends_as_an_undisturbed_one(
    new_grid: Callable[..., Any], finished: Any
) -> None:
    project, moments = new_grid(), random.Random(0)
    say(f"\nundisturbed: {finished.seconds:.1f} s")
    hits = 0
    for number in range(KILLS):
        moment = moments.uniform(0, finished.seconds)
        done = killed_after(project, moment)
        hits += not done
        what = "had ended before" if done else f"killed; {present(project)} outputs there"
        say(f"{number + 1:2}: {moment:5.1f} s: {what}")
        if done:
            erase(project)
    say(f"{hits} of {KILLS} kills hit a living run")
    assert hits >= KILLS // 2
    unlock(project)
    project.make()
    assert (project.folder / "results/board.csv").read_bytes() == finished.board
    assert project.is_clean()
    left = leftovers(project, "data", "results")
    say(f"left in data and results: {left}; in the cache: {leftovers(project, '.dvc/cache')}")
    assert left == []
    assert "0 files dropped" in project.bdb("sync").stdout


def test_sync_removes_what_a_killed_job_left_in_the_cache_long_ago(linked: Any) -> None:
    folder = linked.folder / ".dvc/cache/files/md5/00"
    folder.mkdir(exist_ok=True)
    old, new = folder / ".abc.1.tmp", folder / ".abc.2.tmp"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    assert linked.bdb("sync").returncode == 0
    assert not old.exists()
    assert new.exists()


def killed_after(project: Any, seconds: float) -> bool:
    """Start or resume a run and kill it all; whether it had ended before."""
    unlock(project)
    with (project.folder / "run.log").open("w") as log:
        command = [sys.executable, "-m", "snakemake", "--cores", "2"]
        process = subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill_session(process.pid)
            process.wait()
            return False
    assert code == 0, (project.folder / "run.log").read_text()
    return True


def kill_session(leader: int) -> None:
    """Kill a session's every process, whatever group it made for itself."""
    while living := [pid for pid in processes() if session(pid) == leader]:
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def session(pid: int) -> int:
    """The session of a process that lives; 0 of a dead one."""
    try:
        state, _, _, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return 0
    return 0 if state == "Z" else int(number)


def unlock(project: Any) -> None:
    if any((project.folder / ".snakemake/locks").glob("*")):
        assert project.snakemake("--unlock").returncode == 0


def erase(project: Any) -> None:
    for name in ("data", "results", ".dvc/cache"):
        shutil.rmtree(project.folder / name)


def present(project: Any) -> int:
    places = (project.folder / "data", project.folder / "results")
    return sum(path.is_file() for place in places for path in place.rglob("[!.]*"))


def leftovers(project: Any, *places: str) -> list[str]:
    return [str(p) for place in places for p in (project.folder / place).rglob(".*.tmp")]
