"""A scan from the command line, in an empty folder: what it reads, says, and ends with."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from scanned import ROOT, bdb

from bdb import cli
from bdb.datasets.base import DataSpec
from bdb.defenses.base import Given
from bdb.errors import SuspectError
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.scan import budget as budgets
from bdb.scan import files, scanning, suspects
from bdb.scan.ladder import Ladder
from bdb.scan.suspects import Told
from bdb.testing import Lab, lab


def test_a_backdoored_model_is_found_in_an_empty_folder(tmp_path: Path, badnets: Lab) -> None:
    path = tmp_path / "model.safetensors"
    models.save(path, badnets.model)
    done = bdb(tmp_path, "model.safetensors", "--json", "--budget", "5s")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["suspicious"]
    (head,) = [each for each in said["detectors"] if each["name"] == "head_norm"]
    assert head["verdict"]["targets"] == [0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_clean_head_is_not_suspected_and_the_blind_spots_are_said(tmp_path: Path) -> None:
    models.save(tmp_path / "model.safetensors", lab("none", 0.0).model)
    done = bdb(tmp_path, "model.safetensors", "--budget", "0s")
    assert done.returncode == 0, done.stderr
    assert "nothing found" in done.stdout
    assert "uncalibrated" in done.stdout
    assert "not looked at, since the budget was used up" in done.stdout
    assert "little poison" in done.stdout


@pytest.mark.parametrize("is_closed", ["stdout", "stderr"])
def test_an_answer_that_nobody_hears_is_an_error(
    tmp_path: Path, badnets: Lab, is_closed: str
) -> None:
    """It would be 1, which says of a model that it is suspicious."""
    models.save(tmp_path / "model.safetensors", badnets.model)
    reader, writer = os.pipe()
    os.close(reader)
    done = bdb(tmp_path, "model.safetensors", "--budget", "1s", **{is_closed: writer})
    os.close(writer)
    assert done.returncode == 2
    assert not done.stderr or "Broken pipe" not in done.stderr


def test_a_mistake_of_ours_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(scanning, "scan", fail)
    monkeypatch.setattr(sys, "argv", ["bdb", "scan", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "ZeroDivisionError: a mistake" in capfd.readouterr().err


OFFLINE = """
import runpy, socket, sys
def refuse(*_):
    raise OSError("there is no network")
socket.socket.connect = socket.getaddrinfo = refuse
sys.argv = ["bdb", *sys.argv[1:]]
runpy.run_module("bdb", run_name="__main__")
"""


def test_the_package_alone_is_enough_offline(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "bdb", tmp_path / "lib/bdb", ignore=shutil.ignore_patterns("__pycache__")
    )
    data = DataSpec(
        dataset="digits", classes=tuple("0123456789"), shape=(3, 32, 32), mean=(0.3,) * 3,
        std=(0.3,) * 3,
    )  # fmt: skip
    spec = ModelSpec(architecture="convnet", fields={"width": 8}, data=data)
    folder = tmp_path / "empty"
    models.save(folder / "model.safetensors", models.build(spec, 0))
    asked = ["scan", "model.safetensors", "--html", "answer.html", "--sarif", "answer.sarif"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib"), "BDB_DEVICE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, *asked],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert "of 50 clean models score as high" in done.stdout
    assert "there is no network" not in done.stdout + done.stderr
    names = {"model.safetensors", "answer.html", "answer.sarif"}
    assert {path.name for path in folder.iterdir()} == names


def test_a_budget_stops_a_detector_that_is_at_it(badnets: Lab) -> None:
    began = time.monotonic()
    ladder = Ladder(Given(model=badnets.model), began + 1.0, 0)
    found = {each.detector: each for each in ladder.climb()}
    assert time.monotonic() - began < 20
    assert found["head_norm"].is_suspicious
    assert found["mm_bd"].reason == "the budget was used up"
    assert not any(module._forward_pre_hooks for module in badnets.model.modules())


def test_a_state_dict_of_ours_is_the_same_model(tmp_path: Path, badnets: Lab) -> None:
    torch.save(badnets.model.state_dict(), tmp_path / "model.pt")
    told = Told("convnet", 32, "none")
    model = suspects.load(files.read(tmp_path / "model.pt"), told)
    images = torch.rand(4, 3, 32, 32)
    assert torch.allclose(model(images), badnets.model.eval()(images), atol=1e-3)


def test_a_network_of_torchvision_answers_as_it_did(tmp_path: Path) -> None:
    import torchvision

    net = torchvision.models.resnet18(num_classes=5).eval()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    told = Told("resnet18", 32, "imagenet")
    model = suspects.load(files.read(tmp_path / "model.safetensors"), told)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(images), net(model.normalize(images)), atol=1e-5)
    assert model.spec.data.num_classes == 5


def test_a_result_of_backdoorbench_says_all_itself(tmp_path: Path) -> None:
    data = DataSpec(
        dataset="x", classes=tuple("abcd"), shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3
    )
    spec = ModelSpec(architecture="preactresnet18", fields={"width": 4}, data=data)
    net = models.build(spec, 0).eval()
    state = {
        f"module.{name.replace('head.', 'linear.')}": tensor
        for name, tensor in net.state_dict().items()
        if name not in ("mean", "std")
    }
    facts = {"model_name": "preactresnet18", "num_classes": 4, "clean_data": "cifar10"}
    torch.save(facts | {"model": state, "img_size": (32, 32, 3)}, tmp_path / "attack_result.pt")
    model = suspects.load(files.read(tmp_path), Told())
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(model.extract(images), net.extract(images), atol=1e-4)
    assert torch.equal(model.head.weight, net.head.weight)
    assert model.spec.data.mean != data.mean


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Told(), "--size PIXELS .*--normalize NAME"),
        (Told("", 32, "none"), "cannot be told from the weights: --arch NAME"),
        (Told("resnet18", 32), "cannot be told from the weights: --normalize"),
        (Told("resnet81", 32, "none"), "did you mean"),
        (Told("resnet50", 32, "none"), "the weights do not fit --arch resnet50"),
        (Told("resnet18", 32, "nothing"), "--normalize"),
    ],
)
def test_what_is_not_known_is_asked_for_in_one_line(
    tmp_path: Path, told: Told, message: str
) -> None:
    weights: dict[str, Any] = {"conv.weight": torch.ones(4, 3, 3, 3), "fc.weight": torch.ones(2, 4)}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(SuspectError, match=message) as caught:
        suspects.load(files.read(tmp_path), told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("budget", ["soon", "-1s", "nan", "1e9", "٣"])
def test_a_budget_is_seconds(budget: str) -> None:
    with pytest.raises(SuspectError, match="no number of seconds"):
        budgets.seconds(budget)


@pytest.mark.parametrize(
    "facts",
    [
        {"img_size": ("x", 2, 3)},
        {"img_size": (float("nan"),) * 3},
        {"img_size": (float("inf"),) * 3},
        {"img_size": (10**30, 32, 3)},
        {"img_size": (-32, 32, 3)},
        {"img_size": "abc"},
        {"clean_data": "../../etc"},
        {"model_name": "../x"},
        {"model_name": "convnet"},
        {"model_name": "vit_b_16"},
        {"model_name": "squeezenet1_0"},
        {"model_name": "unet"},
    ],
)
@pytest.mark.parametrize(
    "weights",
    [
        {"w": (4, 3, 3, 3), "l": (2, 4)},
        {"w": (0, 3, 1, 1), "l": (2, 4)},
        {"w": (4, 3, 1, 1), "l": (0, 4)},
        {"b": ()},
    ],
)
def test_facts_that_mean_harm_end_in_one_line(
    tmp_path: Path, facts: dict[str, Any], weights: dict[str, tuple[int, ...]]
) -> None:
    honest = {"model_name": "resnet18", "img_size": (32, 32, 3), "clean_data": "cifar10"}
    model = {name: torch.ones(shape) for name, shape in weights.items()}
    torch.save(honest | facts | {"model": model}, tmp_path / "attack_result.pt")
    with pytest.raises(SuspectError) as caught:
        suspects.load(files.read(tmp_path), Told())
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def test_weights_beyond_all_measure_are_judged_by_none(badnets: Lab) -> None:
    model = models.duplicate(badnets.model)
    model.head.weight.data.fill_(1e38)
    for each in Ladder(Given(model=model), time.monotonic() + 3.0, 0).climb():
        assert each.verdict is None or abs(each.verdict["score"]) < float("inf")
