"""The user's own images, of another size than the built-in sets, through the DAG and DVC."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from bdb.testing import digits


def write_images(folder: Path) -> None:
    """Three digits as class folders, in grey, as JPEG and PNG of several sizes."""
    raw = digits()
    for label in (0, 1, 4):
        place = folder / f"digit {label}"
        place.mkdir(parents=True)
        for number, index in enumerate((raw.train.labels == label).nonzero().flatten()[:100]):
            pixels = raw.train.images[int(index), 0].numpy()
            suffix, side = (("png", 20), ("jpg", 40))[number % 2]
            image = Image.fromarray(pixels).resize((side, side + 3))
            image.save(place / f"{number}.{suffix}")


@pytest.mark.evidence
def test_a_folder_of_images_runs_through_the_dag(project: Any, tmp_path: Path) -> None:
    write_images(tmp_path / "mine")
    project.params["grid"] |= {"dataset": ["folder"], "defense": [], "analysis": ["confusion"]}
    project.params["datasets"] = {
        "folder": {"path": str(tmp_path / "mine"), "size": 24, "crop_padding": 0}
    }
    project.params["training"] |= {"epochs": 40, "batch_size": 16, "lr": 0.05}
    project.save()
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (victim,) = pd.read_csv(project.folder / "results" / "board.csv").to_dict("records")
    assert victim["dataset"] == "folder"
    assert victim["c_acc"] > 0.9
    assert victim["asr"] > 0.7


def test_dvc_keeps_images_below_data_raw(project: Any) -> None:
    project.init_dvc()
    project.params["grid"] |= {"dataset": ["folder"], "defense": [], "analysis": []}
    project.params["datasets"] = {"folder": {"path": "leaves", "size": 24, "crop_padding": 0}}
    project.save()
    leaves = project.folder / "data" / "raw" / "leaves"
    write_images(leaves)
    added = project.dvc("add", "data/raw/leaves")
    assert added.returncode == 0, added.stderr
    assert all(path.is_symlink() for path in leaves.rglob("*.png"))
    prepared = project.folder / "data" / "prepared" / "folder" / "train.safetensors"
    assert project.bdb("prepare", "folder").returncode == 0
    before = prepared.read_bytes()
    project.commit("Add leaves")
    assert project.run("git", "ls-files", "data").stdout.split() == ["data/raw/leaves.dvc"]

    shutil.rmtree(leaves / "digit 1")
    assert "data/raw/leaves.dvc" in project.dvc("status").stdout
    project.dvc("checkout")  # It complains of stages that have never run.
    prepared.unlink(missing_ok=True)
    assert project.bdb("prepare", "folder").returncode == 0
    assert prepared.read_bytes() == before
