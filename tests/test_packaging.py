"""What no test can build here: the image's recipe and the catalogue's entry name what exists."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from bdb.params import Settings

ROOT = Path(__file__).parents[1]


def instructions(name: str) -> list[list[str]]:
    """The arguments of every such instruction in the Dockerfile, without options."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    found = [line[1:] for line in lines if line and line[0] == name]
    return [[word for word in line if not word.startswith("--")] for line in found]


def test_all_that_the_image_copies_exists() -> None:
    copied = [name for *names, _ in instructions("COPY") for name in names]
    assert len(copied) > 5
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_what_is_copied_first_is_all_that_the_installation_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    read = {*project["project"]["license-files"], *wheel["force-include"], "constraints.txt"}
    read |= {"pyproject.toml", "Makefile", project["project"].get("readme", "Makefile")}
    copies = instructions("COPY")
    assert read <= {name for *names, _ in copies[:-1] for name in names}
    assert copies[-1] == [".", "."]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("goal", [".engines", ".test"])
def test_an_environment_is_renewed_when_what_it_has_copies_of_changes(
    tmp_path: Path, goal: str
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for name in {"Makefile", "pyproject.toml", "constraints.txt", *copied}:
        shutil.copy(ROOT / name, tmp_path)
    for name in (goal, "bin/python"):
        (tmp_path / "it" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "it" / name).touch()
    for name in (None, *copied):
        for path in tmp_path.iterdir():
            os.utime(path, (1, 1 if path.name != name else time.time() + 60))
        done = subprocess.run(["make", "-q", "VENV=it", f"it/{goal}"], cwd=tmp_path, check=False)
        assert done.returncode == (name is not None), name


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_the_makefile_makes_what_the_image_asks_for() -> None:
    commands = [" ".join(line) for line in (*instructions("RUN"), *instructions("CMD"))]
    (environment,) = [word.split("=")[1] for (word,) in instructions("ARG")]
    assert "make .venv/$ENVIRONMENT" in commands
    assert any("make, demo" in command for command in commands)
    docs = (ROOT / "docs" / "docker.md").read_text()
    others = re.findall(r"--build-arg ENVIRONMENT=(\S+?)`", docs)
    for target in ("demo", *(f".venv/{name}" for name in (environment, *others))):
        command = ["make", "--dry-run", "--always-make", target]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "pip install" in done.stdout


def test_the_image_does_not_run_as_root_nor_carry_what_git_ignores() -> None:
    assert instructions("USER") == [["bdb"]]
    left_out = set((ROOT / ".dockerignore").read_text().splitlines())
    lines = (ROOT / ".gitignore").read_text().splitlines()
    for line in (line for line in lines if line and line[0] not in "#!"):
        path = line.strip("/")
        folders = {path, f"**/{path}", *(str(parent) for parent in Path(path).parents)}
        assert folders & left_out, f"{line} is in .gitignore alone"


def test_the_catalogue_finds_what_it_looks_for() -> None:
    entry = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    usage = entry["usage"]
    assert usage["report"] is True
    assert usage["mandatory-flags"].keys() == {"desc", "flags"}
    assert set(usage["software-stack-deployment"].values()) == {False}
    for profile in re.findall(r"workflow/profiles/\w+", usage["mandatory-flags"]["desc"]):
        assert (ROOT / profile / "config.yaml").is_file()
    readme = (ROOT / "config" / "README.md").read_text()
    keys = yaml.safe_load((ROOT / "workflow/schemas/params.schema.yaml").read_text())["properties"]
    assert [key for key in keys if f"`{key}`" not in readme] == []
    assert {"snakemake", "workflow"} <= set((ROOT / "README.md").read_text().lower().split())


def test_the_catalogues_snakefile_is_the_one_above(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "workflow/Snakefile", "-n"]
    shutil.copy(ROOT / "params.yaml", tmp_path)
    done = subprocess.run(
        [*command, "--cores", "1", "--quiet", "all", "--", "prepare_all"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone, so nothing is ignored")
def test_the_wheel_carries_what_is_no_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["bdb", "snakemake_logger_plugin_bdb"]
    folder = ROOT / "bdb" / "report" / "published"
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "leaderboard.csv",
        "rules.json",
    }
    # Of a package hatchling leaves out what git ignores, and that alone.
    command = ["git", "check-ignore", "--no-index", *map(str, folder.iterdir())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


MADE = ("results/plots/asr.svg", "results/board.csv", "benchmarks/train/a/s0.tsv", "logs/a.log")
KEPT = ("Makefile", "results/boards/it.csv", "benchmarks/training.py", "benchmarks/results/it.json")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("made", [(), MADE])
def test_cleaning_up_leaves_what_was_kept(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in (*made, *(KEPT if made else KEPT[:2])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(map(str, left)) == sorted(KEPT if made else KEPT[:2])
    assert not (tmp_path / "benchmarks" / "train").exists()


def test_the_stages_of_dvc_read_whole_sections_of_params() -> None:
    """A dotted key would be missing where the grid is a list of products."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    read = {key for stage in stages.values() for key in stage["params"]}
    assert "grid" in read
    assert read <= set(Settings.model_fields)


def test_no_stage_of_dvc_owns_the_boards_that_were_kept() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outputs = [out for stage in stages.values() for out in stage["outs"]]
    paths = [Path(out if isinstance(out, str) else next(iter(out))) for out in outputs]
    assert len(paths) > 10
    kept = Path("results/boards/it.csv")
    assert not {kept, *kept.parents} & set(paths)
