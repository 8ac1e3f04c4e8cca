import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bdb import __version__, presets

WITHOUT_TORCH = """
import sys
sys.argv = ["bdb", *{arguments!r}]
from bdb.cli import main
try:
    main()
except SystemExit as leave:
    assert not leave.code, leave.code
assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["list", "attack", "b*"], ["show", "badnets"], ["check"], ["preset"]],
)
def test_looking_around_does_not_import_torch(project: Any, arguments: list[str]) -> None:
    program = WITHOUT_TORCH.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_list_and_show(project: Any) -> None:
    listed = project.bdb("list", "attack", "b*").stdout
    assert "badnets" in listed
    assert "blended" in listed
    assert "wanet" not in listed
    shown = project.bdb("show", "blended").stdout
    assert "Chen, Liu, Li, Lu, Song" in shown
    assert "alpha: number = 0.2; above 0, at most 1" in shown
    missing = project.bdb("show", "blendid")
    assert missing.returncode == 2
    assert missing.stderr == "bdb: method 'blendid' is not known; did you mean 'blended'?\n"


def test_list_by_room(project: Any) -> None:
    listed = project.bdb("list", "defense", "--stage", "post_training").stdout
    assert listed.startswith("defense post_training\n")
    assert "nad clean_set model Li 2021 " in re.sub(" +", " ", listed)
    assert "strip" not in listed
    assert "defense" not in project.bdb("list", "--means", "data_poisoning").stdout
    wrong = project.bdb("list", "--stage", "post-training")
    assert (
        wrong.stderr == "bdb: --stage 'post-training' is not known; did you mean 'post_training'?\n"
    )
    assert wrong.returncode == 2
    assert project.bdb("list", "attack", "--stage", "inference").returncode == 2


def test_the_version_names_the_revision_of_the_project_alone(project: Any) -> None:
    """A folder that lies in somebody's repository, and is not kept there, has none."""
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *command], cwd=project.folder, check=True)
    assert project.bdb("--version").stdout == f"{__version__}\n"
    subprocess.run(["git", "add", "-f", "params.yaml"], cwd=project.folder, check=True)
    assert re.fullmatch(
        rf"{re.escape(__version__)} \([0-9a-f]{{7,12}}\+\)\n", project.bdb("--version").stdout
    )


def test_check_prints_the_plan(project: Any) -> None:
    plan = project.bdb("check").stdout
    assert plan.startswith("1 run, 2 cells, 1 analysis\n")
    assert "digits/convnet/badnets/0.1  1 seed" in plan
    assert "left, as far as is known: about " in plan
    assert "judged by bdb's own figures for " in plan


def test_presets_are_put_in_place(project: Any) -> None:
    assert project.bdb("preset", "demo").returncode == 0
    assert (project.folder / "params.yaml").read_text() == presets.text("demo")
    listed = project.bdb("preset").stdout.splitlines()
    assert [line.split()[0] for line in listed] == presets.names()
    assert all(line.endswith(".") for line in listed)
    wrong = project.bdb("preset", "dmeo")
    assert wrong.returncode == 2
    assert "did you mean 'demo'" in wrong.stderr
    assert (project.folder / "params.yaml").read_text() == presets.text("demo")


def set_grid(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda params: params["grid"].__setitem__(key, [value])


def set_key(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda params: params.__setitem__(key, value)


MISTAKES = {
    "unknown key": (set_key("gird", {}), "'gird'"),
    "attack misspelt": (set_grid("attack", "badnet"), "did you mean 'badnets'"),
    "ratio": (set_grid("poison_ratio", 1.5), "1.5"),
    "seed": (set_grid("seed", "a"), "'a'"),
    "without what it needs": (set_key("clean_set", {"fraction": 0}), "needs clean images"),
    "empty axis": (lambda params: params["grid"].__setitem__("attack", []), "grid.attack"),
    "empty grid": (set_grid("poison_ratio", 1e-6), "the grid is empty"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_results_alone(project: Any, name: str) -> None:
    change, message = MISTAKES[name]
    change(project.params)
    project.save()
    board = project.folder / "results" / "board.csv"
    board.parent.mkdir()
    board.write_text("precious")
    files = sorted(project.folder.rglob("*"))
    for done in (project.bdb("check"), project.bdb("report"), project.snakemake()):
        assert done.returncode == 2
        said = [line for line in done.stderr.splitlines() if line.startswith("bdb: ")]
        assert len(said) == 1
        assert message in said[0]
        assert "Traceback" not in done.stderr
    assert board.read_text() == "precious"
    left = [path for path in sorted(project.folder.rglob("*")) if ".snakemake" not in path.parts]
    assert left == files


def image_folder(folder: Path, classes: int) -> None:
    for label in range(classes):
        place = folder / f"class{label}"
        place.mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (label * 50, number, 0)).save(place / f"{number}.png")


def test_a_folder_with_one_class_or_a_broken_image(project: Any, tmp_path: Path) -> None:
    image_folder(tmp_path / "one", classes=1)
    image_folder(tmp_path / "broken", classes=2)
    (tmp_path / "broken" / "class1" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    for name, message in (("one", "class"), ("broken", "3.png")):
        project.params["grid"]["dataset"] = ["folder"]
        project.params["datasets"] = {"folder": {"path": str(tmp_path / name)}}
        project.save()
        done = project.bdb("prepare", "folder")
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (project.folder / "data").exists()


def test_a_job_of_other_code_is_refused(project: Any) -> None:
    done = project.bdb("prepare", "digits", "--code", "0123456789abcdef")
    assert done.returncode == 2
    assert "start snakemake again" in done.stderr


def test_a_run_outside_the_grid_is_refused(project: Any) -> None:
    done = project.bdb("train", "digits/convnet/badnets/0.2/s0")
    assert done.returncode == 2
    assert "did you mean 'digits/convnet/badnets/0.1/s0'" in done.stderr


def test_a_missing_input_is_named(project: Any) -> None:
    done = project.bdb("poison", "digits/convnet/badnets/0.1/s0")
    assert done.returncode == 2
    assert "data/prepared/digits/test.safetensors: no such file" in done.stderr
