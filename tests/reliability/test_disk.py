"""Full and read-only file systems: one line that says so, and nothing finished is lost.

Where only the cache is concerned, the run goes on without it.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bdb.console import say

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system"),
]


class Disk:
    """A small file system in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, size: str) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self.place], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.place], capture_output=True, check=False)


@pytest.fixture
def new_disk() -> Iterator[Callable[[Path], Disk]]:
    disks: list[Disk] = []

    def make(place: Path) -> Disk:
        disks.append(Disk(place))
        return disks[-1]

    yield make
    for disk in disks:
        disk.unmount()


# Sizes at which the first, a middle, and a late job find no room.
@pytest.mark.parametrize("size", ["16k", "3m", "8m"])
def test_a_full_cache_is_named_in_one_line_and_the_run_goes_on(
    new_grid: Callable[..., Any],
    finished: Any,
    new_disk: Callable[[Path], Disk],
    tmp_path: Path,
    size: str,
) -> None:
    project, disk = new_grid(), new_disk(tmp_path / "cache")
    disk.mount(size)
    (project.folder / ".dvc/config.local").write_text(f"[cache]\ndir = {disk.place}\n")
    line = goes_on_with_one_line(project, "No space left on device")
    assert line.startswith(f"cache {disk.place} cannot be written: ")
    assert resumes(project, disk, finished)


@pytest.mark.parametrize(("place", "size"), [("data", "16k"), ("data", "1m"), ("results", "16k")])
def test_a_full_project_folder_is_named_in_one_line_and_the_run_resumes(
    new_grid: Callable[..., Any],
    finished: Any,
    new_disk: Callable[[Path], Disk],
    place: str,
    size: str,
) -> None:
    project = new_grid()
    disk = new_disk(project.folder / place)
    disk.mount(size)
    line = fails_with_one_line(project, "No space left on device")
    assert line.startswith(f"bdb: {place}/")
    assert resumes(project, disk, finished)


def test_a_read_only_cache_is_done_without(
    new_grid: Callable[..., Any], finished: Any, new_disk: Callable[[Path], Disk], tmp_path: Path
) -> None:
    project, disk = new_grid(), new_disk(tmp_path / "cache")
    disk.mount("64m")
    (project.folder / ".dvc/config.local").write_text(f"[cache]\ndir = {disk.place}\n")
    project.make("data/prepared/digits/train.safetensors")
    disk.remount("ro")
    line = goes_on_with_one_line(project, "Read-only file system")
    assert line.startswith(f"cache {disk.place} cannot be written: ")
    disk.remount("rw")
    assert resumes(project, disk, finished)


def fails_with_one_line(project: Any, reason: str) -> str:
    """Run until the disk stops it; what the first failing job said."""
    done = project.snakemake()
    assert done.returncode != 0, done.stdout + done.stderr
    return the_line(project, reason)


def goes_on_with_one_line(project: Any, reason: str) -> str:
    """Run to the end; what the first job said that could not use the cache."""
    project.make()
    return the_line(project, reason)


def the_line(project: Any, reason: str) -> str:
    logs = {path: path.read_text() for path in (project.folder / "logs").rglob("*.log")}
    logs.pop(project.folder / "logs" / "record.log", None)  # It repeats what DVC says of the same.
    lines = [line for text in logs.values() for line in text.splitlines()]
    assert not [line for line in lines if "Traceback" in line], "\n".join(lines)
    said = [line for line in lines if reason in line]
    assert said, "\n".join(lines)
    say(f"\n{said[0]}")
    return str(said[0])


def resumes(project: Any, disk: Disk, finished: Any) -> bool:
    """Make room, and run to the end."""
    disk.remount("size=200m")
    project.make()
    assert (project.folder / "results/board.csv").read_bytes() == finished.board
    # DVC's own, of its record that failed, have no process in their names; they go after a day.
    left = [path.name for path in disk.place.rglob(".*.tmp")]
    assert [name for name in left if re.fullmatch(r".+\.\d+\.tmp", name)] == []
    return bool(project.is_clean())
