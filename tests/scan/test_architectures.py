"""Architectures that nobody names, of other libraries, and made anew for clean models."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from scanned import bdb, put

from bdb.datasets.base import DataSpec, ImageSet
from bdb.defenses.base import Defense
from bdb.defenses.model_level.head_norm import HeadNorm
from bdb.errors import SuspectError
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.report import population
from bdb.scan import architectures, calibrate, comparable, files, suspects
from bdb.scan.ladder import Ladder
from bdb.scan.suspects import Told
from bdb.testing import digits
from bdb.torchvision_ops import load as torchvision
from bdb.training import loop

DATA = DataSpec(
    dataset="brought",
    classes=tuple("0123456789"),
    shape=(3, 32, 32),
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


def of_torchvision(name: str) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torchvision().models.get_model(name, weights=None, num_classes=10)
    state: dict[str, torch.Tensor] = net.state_dict()
    return state


def suspect(width: int = 4) -> Classifier:
    spec = ModelSpec(architecture="convnet", fields={"width": width}, data=DATA)
    return models.build(spec, 0).eval()


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf"])
def test_the_only_architecture_that_weights_fit_is_found(name: str) -> None:
    assert architectures.inferred(of_torchvision(name), DATA) == [name]


def test_ours_is_found_whatever_the_last_layer_is_called() -> None:
    state = suspect(8).state_dict()
    assert architectures.inferred(state, DATA) == ["convnet"]
    renamed = {name.replace("head.", "fc."): tensor for name, tensor in state.items()}
    assert architectures.inferred(renamed, DATA) == ["convnet"]
    bent = state | {"head.weight": torch.zeros(10, 3)}
    assert architectures.inferred(bent, DATA) == []


def test_weights_need_no_name(tmp_path: Path) -> None:
    state = of_torchvision("mobilenet_v3_small")
    save_file(state, tmp_path / "model.safetensors")
    model = suspects.load(files.read(tmp_path / "model.safetensors"), Told("", 32, "imagenet"))
    assert model.spec.architecture == "mobilenet_v3_small"
    assert model.spec.data.num_classes == 10


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_a_fresh_model_is_of_the_same_kind_and_has_learned_nothing(name: str) -> None:
    model = architectures.build(name, DATA, of_torchvision(name)).eval()
    first, second = (architectures.fresh(model, seed).eval() for seed in (1, 2))
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    for each in (first, second):
        assert {key: tensor.shape for key, tensor in each.state_dict().items()} == shapes
    assert not torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(first.head.weight, architectures.fresh(model, 1).head.weight)


def config(**changes: Any) -> dict[str, Any]:
    usual = {"input_size": [3, 64, 64], "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
    return {"architecture": "resnet10t", "num_classes": 7, "pretrained_cfg": usual} | changes


def test_a_folder_of_timm_says_all_itself(tmp_path: Path) -> None:
    torchvision()
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        net = timm.create_model("resnet10t", pretrained=False, num_classes=7).eval()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config()))
    model = suspects.load(files.read(tmp_path), Told())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model(images), net(model.normalize(images)), atol=1e-4)
    assert (model.spec.data.shape, model.spec.data.num_classes) == ((3, 64, 64), 7)
    assert model.spec.data.mean == (0.4, 0.5, 0.6)


def test_without_timm_its_folders_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    save_file(of_torchvision("resnet18"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config()))
    with pytest.raises(SuspectError, match=r"need timm: pip install 'bdb\[timm\]'"):
        suspects.load(files.read(tmp_path), Told())


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "hf-hub:somebody/model"},
        {"architecture": "../../x"},
        {"pretrained_cfg": "x"},
        {"pretrained_cfg": {"input_size": [3, "a", {}], "mean": [1], "std": [1]}},
        {"pretrained_cfg": {"input_size": [3, 64, 64], "mean": ["x"], "std": [0]}},
        {"pretrained_cfg": {"input_size": [3, -1, 64], "mean": [0.5], "std": [0.5]}},
        {"pretrained_cfg": {"input_size": [3, 1e308, 64], "mean": [1e999], "std": [0.5]}},
    ],
)
def test_a_hostile_config_ends_in_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_file(of_torchvision("resnet18"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config(**changes)))
    with pytest.raises(SuspectError) as caught:
        suspects.load(files.read(tmp_path), Told())
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def one_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    only: list[Defense] = [HeadNorm()]
    monkeypatch.setattr(Ladder, "detectors", lambda *_: only)


@pytest.mark.usefixtures("one_detector")
def test_clean_models_are_trained_once_and_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    fit = loop.fit

    def counted(model: Any, data: ImageSet, *arguments: Any, seed: int, **options: Any) -> Any:
        trained.append(seed)
        return fit(model, data, *arguments, seed=seed, **options)

    monkeypatch.setattr(loop, "fit", counted)
    path, data, model = tmp_path / "own.csv", digits().train[torch.arange(200)], suspect()
    calibrate.calibrate(path, model, data, None, "fast", 2)
    calibrate.calibrate(path, model, data, None, "fast", 3)
    assert len(trained) == len(set(trained)) == 3
    table = population.read(path)
    assert table["label"].tolist() == ["clean"] * 3
    assert table["score"].nunique() == 3
    alike = comparable.find(path, model.spec, "")
    assert alike.scores.shape == (3, 1)
    other = suspect(8)
    assert comparable.find(path, other.spec, "").scores.empty
    calibrate.calibrate(path, other, data, None, "fast", 1)
    assert len(comparable.find(path, other.spec, "").scores) == 1
    assert len(comparable.find(path, model.spec, "").scores) == 3


@pytest.mark.slow
def test_a_clean_model_has_learned_its_images() -> None:
    from bdb.training import inference

    raw = digits()
    model = calibrate.train(suspect(8), raw.train, "fast", 0)
    assert inference.accuracy(model, raw.test.images, raw.test.labels) > 0.85
    again = calibrate.train(suspect(8), raw.train, "fast", 0)
    assert torch.equal(model.head.weight, again.head.weight)


def test_calibration_needs_a_place(tmp_path: Path) -> None:
    models.save(tmp_path / "model.safetensors", suspect())
    put(tmp_path / "own", digits().train[torch.arange(20)], list("0123456789"))
    done = bdb(tmp_path, "model.safetensors", "--calibrate", "own")
    assert done.returncode == 2
    assert "say with --population where" in done.stderr
