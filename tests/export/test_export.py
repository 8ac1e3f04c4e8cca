"""A small run, exported: read again without bdb, it says the same."""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bdb import artifacts
from bdb.datasets.csv_table import CsvTable

RUN = "digits/convnet/badnets/0.1/s0"


@pytest.fixture(scope="module")
def made(new_project: Callable[..., Any]) -> Any:
    """A run with one cell."""
    project = new_project()
    project.params["grid"] |= {"defense": ["clp"], "analysis": []}
    project.params["training"]["epochs"] = 4
    project.save()
    steps = (("prepare", "digits"), ("poison", RUN), ("train", RUN), ("defend", RUN, "clp"))
    for step in (*steps, ("evaluate", RUN)):
        done = project.bdb(*step)
        assert done.returncode == 0, done.stderr
    return project


def export(made: Any, *words: str) -> Path:
    done = made.bdb("export", *words)
    assert done.returncode == 0, done.stderr
    return Path(made.folder / words[2])


def pixels(folder: Path, paths: pd.Series) -> np.ndarray:
    return np.stack([np.asarray(Image.open(folder / path)) for path in paths])


def answers(made: Any, split: str, folder: str = f"results/victims/{RUN}") -> np.ndarray:
    table = artifacts.read_table(made.folder / folder / "predictions.parquet")
    return table[table.split == split].predicted.to_numpy()


def test_a_poisoned_set_is_pictures_and_tables(made: Any) -> None:
    folder = export(made, "set", RUN, "set")
    tensors, _ = artifacts.read_tensors(made.folder / f"data/poisoned/{RUN}/poison.safetensors")
    train = pd.read_csv(folder / "train.csv").set_index("index")
    touched = train.loc[tensors["train_ids"].numpy()]
    shown = torch.from_numpy(pixels(folder, touched.path)).permute(0, 3, 1, 2)
    assert torch.equal(shown, tensors["train_images"])
    assert touched.given_label.tolist() == tensors["train_labels"].tolist()
    assert touched.is_poison.tolist() == tensors["is_poison"].tolist()
    assert int(train.is_poison.sum()) == int(tensors["is_poison"].sum()) > 0
    assert (train.given_label == train.true_label)[~train.is_poison].all()
    marked = pd.read_csv(folder / "triggered/triggered.csv")
    assert marked.given_label.eq(0).all()
    assert marked.true_label.ne(0).all()
    about = json.loads((folder / "about.json").read_text())
    assert (about["run"], about["attack"]["target"]) == (RUN, 0)


def test_an_exported_set_is_a_data_set_for_the_csv_reader(made: Any) -> None:
    export(made, "set", RUN, "again")
    raw = CsvTable.make(path="again").read(made.folder)
    table = pd.read_csv(made.folder / "again/train.csv")
    assert raw.train.labels.tolist() == table.given_label.tolist()
    assert len(raw.test) == 364


PROGRAM = """
import sys, numpy, pandas, torch
from pathlib import Path
from PIL import Image
model, folder = Path(sys.argv[1]), Path(sys.argv[2])
table = pandas.read_csv(folder / (sys.argv[3] + ".csv"))
images = numpy.stack([numpy.asarray(Image.open(folder / path)) for path in table.path])
floats = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
network = torch.export.load(model).module()
print(*network(floats).argmax(1).tolist())
assert "bdb" not in sys.modules
"""


@pytest.mark.evidence
def test_a_program_answers_the_same_without_bdb(made: Any) -> None:
    folder, model = export(made, "set", RUN, "shown"), export(made, "model", RUN, "victim.pt2")
    for split, where in (("test", folder), ("triggered", folder / "triggered")):
        words = [sys.executable, "-c", PROGRAM, str(model), str(where), split]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [int(word) for word in done.stdout.split()] == answers(made, split).tolist()


def test_an_onnx_program_answers_the_same(made: Any) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    folder = export(made, "set", RUN, "drawn")
    program = onnx.load(export(made, "model", RUN, "victim.onnx"))
    about = json.loads(program.metadata_props[0].value)
    assert (about["run"], about["model"]["architecture"]) == (RUN, "convnet")
    paths = pd.read_csv(folder / "test.csv").path
    images = pixels(folder, paths).transpose(0, 3, 1, 2).astype(np.float32) / 255
    (logits,) = ReferenceEvaluator(program).run(None, {program.graph.input[0].name: images})
    assert logits.argmax(1).tolist() == answers(made, "test").tolist()


@pytest.mark.parametrize("defense", ["", "clp"])
def test_plain_weights_are_those_of_the_model(made: Any, defense: str) -> None:
    from safetensors.torch import load_file

    option = ("--defense", defense) if defense else ()
    name = f"weights{defense}"
    plain = load_file(export(made, "model", RUN, f"{name}.safetensors", *option))
    loaded = torch.load(export(made, "model", RUN, f"{name}.pt", *option), weights_only=True)
    where = f"results/cells/{RUN}/clp" if defense else f"results/victims/{RUN}"
    ours, _ = artifacts.read_tensors(made.folder / where / "model.safetensors")
    assert plain.keys() == loaded["state_dict"].keys() == ours.keys()
    assert all(torch.equal(plain[key], ours[key]) for key in ours)
    assert all(torch.equal(loaded["state_dict"][key], ours[key]) for key in ours)
    assert loaded["about"]["defense"] == defense


def test_a_run_is_a_zip_whose_checksums_hold(made: Any) -> None:
    one, two = export(made, "run", RUN, "one.zip"), export(made, "run", RUN, "two.zip")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        sums = dict(
            line.split("  ")[::-1] for line in archive.read("SHA256SUMS").decode().splitlines()
        )
        held = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    assert held.pop("SHA256SUMS")
    assert held == sums
    assert f"results/cells/{RUN}/clp/model.safetensors" in sums
    assert {f"results/victims/{RUN}/provenance.json", f"results/metrics/{RUN}.json"} <= sums.keys()
    assert "params.yaml" in sums


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", RUN, "taken"), "taken: is there already"),
        (("model", RUN, "a.h5"), "'.h5' is not allowed; .safetensors, .pt, .pt2, .onnx are"),
        (("model", RUN, "a.pt", "--defense", "ft"), "no such file"),
        (("run", RUN.replace("s0", "s1"), "a.zip"), "is not known"),
        (("run", "digits", "a.zip"), "is not dataset/model/attack/ratio/s<seed>"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    made: Any, words: tuple[str, ...], said: str
) -> None:
    (made.folder / "taken").mkdir(exist_ok=True)
    done = made.bdb("export", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
