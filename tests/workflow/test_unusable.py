"""Without git, or with a cache that cannot be written, everything is computed all the same."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.evidence

READ_ONLY = "/proc/cache"  # Where root can make no folder, either.


@pytest.fixture
def small(new_project: Callable[..., Any]) -> Any:
    """One victim."""
    project = new_project()
    project.params["training"]["epochs"] = 1
    project.params["grid"] |= {"defense": [], "analysis": []}
    project.save()
    project.init_dvc()
    return project


def test_without_home_and_temporary_folder_everything_is_made_and_a_line_says_so(
    small: Any,
) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        small.environment.pop(name, None)
    small.environment |= {"HOME": "/dev/null/home", "TMPDIR": "/dev/null/tmp"}
    lines = small.make().splitlines()
    assert sum("your home cannot be used: .snakemake/home" in line for line in lines) == 1
    assert (small.folder / "results/board.csv").exists()
    assert recorded(small) == ""
    for log in (small.folder / "logs").rglob("*.log"):
        assert "/dev/null" not in log.read_text()
    assert small.planned() == {}


def recorded(project: Any) -> str:
    return str((project.folder / "logs/record.log").read_text())


def test_what_git_and_the_cache_cannot_do_is_said_and_made_up_for(small: Any) -> None:
    whole = dict(small.params)
    small.params = {name: section for name, section in whole.items() if section}
    small.save()
    (small.folder / ".git").rename(small.folder / "git")
    (small.folder / ".dvc/config.local").write_text(f"[cache]\ndir = {READ_ONLY}\n")
    small.make()
    line = recorded(small)
    assert line.startswith(f"DVC records nothing: {small.folder} is in no git repository; ")
    for log in (small.folder / "logs").rglob("*0.log"):
        assert f"cache {READ_ONLY} cannot be written: " in log.read_text()
    board = small.folder / "results/board.csv"
    made = board.read_bytes()
    assert not (small.folder / "dvc.lock").exists()
    assert small.planned() == {}
    (small.folder / "git").rename(small.folder / ".git")
    assert small.planned() == {}
    (small.folder / ".dvc/config.local").unlink()
    assert small.planned() == {}
    small.params = whole
    small.save()
    assert small.planned() == {"record": 1}
    small.make()
    assert recorded(small) == ""
    assert board.read_bytes() == made
    assert small.is_clean()
