"""DVC's configuration as we read it, beside what the real DVC makes of it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bdb.errors import BdbError
from bdb.jobs import dvc_config, runcache
from bdb.jobs.job import Job

CASES = {
    "nothing": {},
    "quotes": {"repo": "[cache]\ndir = 'my cache'  # there\n"},
    "capitals": {"repo": '[Cache]\n    Dir = "Store"\n'},
    "above": {"repo": "[cache]\ndir = ../../elsewhere\n"},
    "home": {"repo": "[cache]\ndir = ~/cached\n"},
    "hash": {"repo": "[cache]\ndir = 'a#b'\n"},
    "remote": {"repo": "['remote \"big\"']\nurl = disk\n[cache]\nlocal = big\n"},
    "local before repo": {"repo": "[cache]\ndir = a\n", "local": "[cache]\ndir = b\n"},
    "global": {"global": "[cache]\ndir = shared\n"},
    "repo before global": {"global": "[cache]\ndir = u\n", "repo": "[cache]\ndir = p\n"},
    "global before system": {"global": "[cache]\ndir = u\n", "system": "[cache]\ndir = s\n"},
    "another key hides nothing": {
        "repo": "[cache]\ndir = a\n",
        "local": "[cache]\ntype = symlink\n",
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, a home, and a machine without configurations of their own."""
    for name in ("project/.dvc/tmp", "home/.config/dvc", "system"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("DVC_GLOBAL_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path / "project")
    write(tmp_path, "repo", "")
    return tmp_path


def write(folder: Path, level: str, text: str) -> None:
    places = {
        "system": "system/config",
        "global": "home/.config/dvc/config",
        "repo": "project/.dvc/config",
        "local": "project/.dvc/config.local",
    }
    no_git = "[core]\nno_scm = true\n" if level == "repo" else ""
    (folder / places[level]).write_text(no_git + text)


@pytest.mark.parametrize("case", CASES)
def test_the_cache_is_where_dvc_has_it(folder: Path, case: str) -> None:
    for level, text in CASES[case].items():
        write(folder, level, text)
    program = "from dvc.repo import Repo; print(Repo().cache.local.path)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(cache().objects) == done.stdout.strip()


def cache() -> runcache.RunCache:
    found = runcache.find()
    assert found
    return found


@pytest.mark.parametrize(
    "text", ["[cache\ndir = x", "[cache]\ndir = s3://bucket\n", "[cache]\ndir = a, b\n"]
)
def test_what_dvc_could_not_use_is_one_line(folder: Path, text: str) -> None:
    write(folder, "repo", text)
    with pytest.raises(BdbError, match=r"DVC"):
        runcache.find()


def test_a_groups_cache_can_be_written_by_all_of_it(folder: Path) -> None:
    write(folder, "repo", "[cache]\nshared = group\n")
    before = os.umask(0o022)
    try:
        job = Job("train", ("r",), (), (Path("out.bin"), Path("out.svg")), {}, "c0de")
        for path in job.outputs:
            path.write_text("made")
        cache().check_writable()
        cache().save(job)
    finally:
        os.umask(before)
    for path in cache().root.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        is_object = path.is_relative_to(cache().objects)
        assert mode == (0o2775 if path.is_dir() else 0o444 if is_object else 0o664), path
    assert stat.S_IMODE(cache().root.stat().st_mode) == 0o2775


@pytest.mark.usefixtures("folder")
def test_git_is_done_without_where_dvc_was_told_so() -> None:
    found = dvc_config.find()
    assert found
    assert dvc_config.is_without_git(dvc_config.read(found))
