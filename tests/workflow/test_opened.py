"""What a person opens is a file with its own suffix, whichever way it came: a browser shows it."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdb import layout

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    not BROWSER, reason="no browser to open the page with: apt-get install chromium"
)


@pytest.fixture(scope="module")
def made(new_project: Callable[..., Any]) -> Any:
    """The smoke grid and one picture, made once and recorded."""
    project = new_project()
    project.params["training"]["epochs"] = 1
    project.params["grid"] |= {"defense": [], "analysis": ["triggers"]}
    project.save()
    project.init_dvc()
    project.make()
    project.commit("Make the grid")
    return project


def opened(project: Any) -> dict[str, bytes]:
    """The content of everything that a person opens; all of it lies there as files."""
    results = project.folder / "results"
    found = {
        path for path in results.rglob("*") if layout.is_opened(path.relative_to(project.folder))
    }
    found = {path for path in found if "shared" not in path.parts}
    suffixes = {path.suffix for path in found}
    assert {".html", ".svg", ".csv", ".md"} <= suffixes
    assert not [path for path in found if path.is_symlink()]
    return {str(path.relative_to(results)): path.read_bytes() for path in found}


def ran(project: Any, *arguments: str) -> None:
    done = project.dvc(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def lose_results(project: Any) -> None:
    shutil.rmtree(project.folder / "results")


def test_after_a_run_and_its_record(made: Any) -> None:
    assert any("analyses" in name for name in opened(made))
    assert made.is_clean()


def test_after_a_hit(made: Any) -> None:
    before = opened(made)
    lose_results(made)
    made.make()
    assert opened(made) == before
    assert made.is_clean()


def test_after_sync(made: Any) -> None:
    before = opened(made)
    for name in before:
        path = made.folder / "results" / name
        path.rename(path.with_name("moved"))
        path.symlink_to("moved")
    assert made.bdb("sync").returncode == 0
    assert opened(made) == before


@pytest.mark.evidence
def test_after_dvc_repro_and_checkout(made: Any) -> None:
    before = opened(made)
    for _ in range(2):  # The second time DVC could restore what the first one ran.
        lose_results(made)
        ran(made, "repro")
        assert opened(made) == before
        assert made.is_clean()
    ran(made, "checkout", "--relink")
    assert opened(made) == before
    ran(made, "commit", "--force")
    assert opened(made) == before


def test_what_dvc_leaves_alone_is_a_file(made: Any) -> None:
    stages = yaml.safe_load((made.folder / "dvc.yaml").read_text())["stages"]
    left = [
        place
        for stage in stages.values()
        for out in [*stage["outs"], *stage.get("metrics", [])]
        if isinstance(out, dict)
        for place, how in out.items()
        if how["cache"] is False
    ]
    program = "from bdb.jobs import jobs; [print(p) for j in jobs.from_params() for p in j.outputs]"
    outputs = [Path(line) for line in made.python(program).stdout.splitlines()]
    for path in filter(layout.is_opened, outputs):
        assert any(path.is_relative_to(place) for place in left), path
    for path in outputs:  # A link into the cache, committed to git, leads nowhere in a clone.
        assert layout.is_opened(path) or str(path) not in left, path


def browse(path: Path) -> str:
    """What a browser makes of a file, as HTML."""
    assert BROWSER
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_browser
def test_a_browser_shows_the_page_and_the_pictures_in_their_places(made: Any) -> None:
    results = made.folder / "results"
    page = browse(results / "report/index.html")
    assert re.search(r"<table[ >].*badnets", page, re.DOTALL)
    for picture in [*results.glob("analyses/**/*.svg"), *results.glob("plots/*.svg")]:
        shown = browse(picture)
        assert "<svg" in shown
        assert "<pre" not in shown, picture  # It is drawn, not shown as text.
