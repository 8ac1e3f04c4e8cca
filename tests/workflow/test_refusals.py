"""What would let the engines disagree is refused in one line before anything runs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def refusal(project: Any, *arguments: str) -> str:
    done = project.snakemake("-n", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("bdb: ")]
    assert len(said) == 1, done.stderr
    return str(said[0])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ('training={"recipe": "paper"}', "training.recipe is 'paper', and 'fast'"),
        ('defenses={"strip": {"overlays": 3}}', "defenses"),
        ("surplus=1", "surplus is 1, and None"),
    ],
)
def test_parameters_on_the_command_line_are_refused(project: Any, given: str, named: str) -> None:
    line = refusal(project, "--config", given)
    assert line.startswith(f"bdb: --config or --configfile: {named}")
    assert line.endswith("edit params.yaml, which is the only place for parameters")


def test_another_file_of_parameters_is_refused(project: Any) -> None:
    other = {**project.params, "training": {"recipe": "paper"}}
    (project.folder / "other.yaml").write_text(yaml.safe_dump(other))
    assert "training.recipe" in refusal(project, "--configfile", "other.yaml")


def test_what_says_the_same_as_params_yaml_is_fine(project: Any) -> None:
    arguments = ("--configfile", "params.yaml", "--config", 'training={"recipe": "fast"}')
    assert project.snakemake("-n", *arguments).returncode == 0


def test_another_copy_of_the_package_is_refused(project: Any) -> None:
    own = project.folder / "bdb"
    shutil.copytree(ROOT / "bdb", own, ignore=shutil.ignore_patterns("__pycache__"))
    # As the command `bdb` of an installed copy; `python -m` and Snakemake take this folder's.
    project.environment |= {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    for done in (project.bdb("check"), project.bdb("report")):
        assert done.returncode == 2
        (line,) = [each for each in done.stderr.splitlines() if each.startswith("bdb: ")]
        assert line == (
            f"bdb: {ROOT / 'bdb'} is running, but {own} lies here: "
            "`pip install -e .` in this folder, so that there is one copy"
        )
    project.environment["PYTHONPATH"] = str(project.folder)
    assert project.bdb("check").returncode == 0


def test_links_that_lead_nowhere_are_told_of_with_the_remedy(project: Any) -> None:
    project.init_dvc()
    for name in ("train", "test"):
        path = project.folder / f"data/prepared/digits/{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(project.folder / ".dvc/cache/files/md5/ab/cd")
    said = (
        "bdb: data/prepared/digits/train.safetensors: a link that leads nowhere, as after a "
        "clean-up of the cache or a move of the project; `bdb sync` restores or drops it, as it "
        "does 1 more"
    )
    for done in (project.bdb("check"), project.snakemake("-n")):
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines().count(said) == 1
