"""The standard library has a module `bdb` too, and all that use it must go on working."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = (
    "import bdb, pdb, doctest; from bdb import BdbQuit, Bdb;"
    "assert issubclass(pdb.Pdb, Bdb) and hasattr(bdb, '__version__')"
)


def python(
    folder: Path, *arguments: str, path: Path = ROOT, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run an interpreter in a folder, with one place more on its path."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(path)},
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A folder with a script and a clone of the project that is named `bdb`."""
    (tmp_path / "bdb" / "bdb").mkdir(parents=True)
    (tmp_path / "bdb" / "bdb" / "__init__.py").touch()
    (tmp_path / "s.py").write_text("print(6 * 7)\n")
    return tmp_path


def test_it_forwards_the_debuggers_names(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr


def test_a_star_import_gives_what_all_names(tmp_path: Path) -> None:
    program = "from bdb import *; import bdb; print([n for n in bdb.__all__ if n not in globals()])"
    done = python(tmp_path, "-c", f"{program}; assert issubclass(Bdb, object); Breakpoint, BdbQuit")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-c", PROGRAM], ""),
        (["-m", "pdb", "s.py"], "c\nq\n"),
        (["-m", "doctest", "s.py"], ""),
        (["-c", "breakpoint()\nprint(42)"], "c\n"),
    ],
)
def test_a_clone_named_bdb_is_not_taken_for_the_package(
    parent: Path, arguments: list[str], said: str
) -> None:
    done = python(parent, *arguments, said=said)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stdout + done.stderr
    assert "s.py" not in arguments or "42" in done.stdout


def test_where_the_package_is_not_installed_the_standard_librarys_runs(parent: Path) -> None:
    """`-S` keeps out what is installed here; the finder alone is there, and has nothing to find."""
    (parent / "alone").mkdir()
    shutil.copy(ROOT / "bdb_first.py", parent / "alone")
    program = "import bdb_first, bdb; print(bdb.Bdb)"
    done = python(parent, "-S", "-c", program, path=parent / "alone")
    assert done.stdout.startswith("<class 'bdb.Bdb'>"), done.stderr
    program = "import bdb_first, runpy; runpy.run_module('bdb', run_name='__main__')"
    done = python(parent, "-S", "-c", program, path=parent / "alone")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
