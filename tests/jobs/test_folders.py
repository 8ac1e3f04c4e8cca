"""No folder to keep things in, or no home: that costs time, never the run."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bdb.jobs import folders

READ_ONLY = "/proc"  # Where root can make no folder, either.


def test_the_first_folder_that_can_be_written_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", READ_ONLY)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders.cache() == tmp_path / ".cache/bdb"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folders.cache() == tmp_path / "bdb"


def test_without_any_folder_planning_goes_on_and_says_so_once(project: Any) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        project.environment[name] = READ_ONLY
    program = (
        "import tempfile; tempfile.gettempdir = lambda: '/proc'\n"
        "from bdb.jobs import jobs, work\n"
        "work.update_sheet(jobs.from_params())\n"
        "print(len(list(jobs.from_params())))"
    )
    done: subprocess.CompletedProcess[str] = project.python(program)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
    (line,) = done.stderr.splitlines()
    assert line.startswith("no folder of yours can be written to")


def test_a_home_that_cannot_be_used_is_made_up_for_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", READ_ONLY)
    folders.stand_in()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / ".snakemake/home/.cache")
    assert os.environ["XDG_CONFIG_HOME"] == str(tmp_path / ".snakemake/home/.config")
    assert os.environ["HOME"] == READ_ONLY  # A folder: what is there can be read.
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("your home cannot be used: ")


def test_a_home_that_is_no_folder_is_made_up_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", "/dev/null/home")
    folders.stand_in()
    assert os.environ["HOME"] == str(tmp_path / ".snakemake/home")
    assert folders.cache() == tmp_path / ".snakemake/home/.cache/bdb"
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_home_that_can_be_used_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    folders.stand_in()
    assert not os.environ["XDG_CACHE_HOME"]
    assert not os.environ["XDG_CONFIG_HOME"]
    assert capsys.readouterr().err == ""
