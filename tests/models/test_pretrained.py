"""Weights that a network of torchvision begins with, from files made up here."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError
from bdb.models import base, pretrained
from bdb.models.base import ModelSpec
from bdb.models.torchvision_nets import NETS, Net, TorchvisionClassifier
from bdb.torchvision_ops import load
from bdb.training import seeds

NAME = "mobilenet_v3_large"
DATA = DataSpec(
    dataset="any", classes=tuple("abc"), shape=(3, 32, 32), mean=(0.4, 0.5, 0.6), std=(0.2,) * 3
)
HEAD = {"classifier.3.weight": torch.zeros(1000, 1280), "classifier.3.bias": torch.zeros(1000)}


def spec(**fields: str) -> ModelSpec:
    return ModelSpec(architecture=NAME, data=DATA, fields=fields)


def fresh() -> TorchvisionClassifier:
    model = base.build(spec(), 7)
    assert isinstance(model, TorchvisionClassifier)
    return model


def published_like() -> dict[str, Tensor]:
    """As torchvision's file holds them, in half precision: with a head for ImageNet's classes."""
    state = fresh().net.state_dict()
    return {key: t.half() if t.is_floating_point() else t for key, t in state.items()} | HEAD


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_published_weights_are_read_from_where_torch_keeps_them(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = published_like()
    torch.save(state, tmp_path / "made_up.pth")
    digest = hashlib.sha256((tmp_path / "made_up.pth").read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(pretrained, "_url", lambda name: f"https://any/{name}-{digest}.pth")
    (tmp_path / "made_up.pth").rename(hub / f"{NAME}-{digest}.pth")
    model = base.build(spec(weights="imagenet"), 0)
    found = {key.removeprefix("net."): tensor for key, tensor in model.state_dict().items()}
    for key in state.keys() - HEAD.keys():
        torch.testing.assert_close(found[key], state[key].to(found[key].dtype), msg=key)
    assert model.head.weight.shape == (3, 1280)
    assert torch.equal(model.head.weight, base.build(spec(), 0).head.weight)
    assert torch.equal(model.get_buffer("mean").flatten(), torch.tensor(DATA.mean))
    _check_that_a_victim_needs_them_no_more(model, hub, tmp_path)


def _check_that_a_victim_needs_them_no_more(
    model: base.Classifier, hub: Path, tmp_path: Path
) -> None:
    base.save(tmp_path / "victim.safetensors", model)
    for path in hub.iterdir():
        path.unlink()
    loaded = base.load(tmp_path / "victim.safetensors")
    assert loaded.spec == model.spec
    assert torch.equal(loaded.head.weight, model.head.weight)
    with pytest.raises(ParamsError, match="is not there"):
        base.build(model.spec, 0)


def test_where_there_are_none_one_line_says_how_to_fetch_them(hub: Path) -> None:
    path = hub / "mobilenet_v3_large-8738ca79.pth"
    url = "https://download.pytorch.org/models/mobilenet_v3_large-8738ca79.pth"
    remedy = f"; where there is a network: curl --create-dirs -Lo {path} {url}"
    with pytest.raises(ParamsError) as refusal:
        base.build(spec(weights="imagenet"), 0)
    assert str(refusal.value) == f"models.{NAME}.weights: {path} is not there{remedy}"
    path.write_bytes(b"half a file")
    with pytest.raises(ParamsError) as refusal:
        base.build(spec(weights="imagenet"), 0)
    told = f"models.{NAME}.weights: {path} is damaged, or another file{remedy}"
    assert str(refusal.value) == told


@pytest.mark.parametrize("name", NETS)
def test_torchvision_names_the_file_of_every_network_by_its_hash(name: str) -> None:
    assert re.fullmatch(rf"{name}(_\w+)?-[0-9a-f]{{8}}\.pth", pretrained.published(name).name)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == NAME else pytest.mark.slow) for n in NETS]
)
def test_every_network_takes_over_what_torchvisions_own_holds(name: str) -> None:
    with seeds.isolated(3):
        theirs = load().models.get_model(name, weights=None)
    model = base.build(ModelSpec(architecture=name, data=DATA), 0)
    assert isinstance(model, TorchvisionClassifier)
    model.begin_with(theirs.state_dict())
    theirs.set_submodule(NETS[name].head, nn.Identity())
    for mine, yours in zip(model.net.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, yours)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_path_is_read_as_what_it_is(suffix: str, tmp_path: Path) -> None:
    path, state = tmp_path / f"own.{suffix}", fresh().net.state_dict()
    state = {key: tensor for key, tensor in state.items() if "num_batches" not in key}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    model = base.build(spec(weights=str(path)), 0)
    assert torch.equal(model.get_parameter("net.features.0.0.weight"), state["features.0.0.weight"])


class Code:
    """What `weights_only` refuses to unpickle."""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("some.pth", Code(), r"some.pth cannot be read \("),
        ("some.pth", [1, 2], r"some.pth holds more than tensors by name; save a `state_dict\(\)`"),
        ("some.pth", {"epoch": 3}, "some.pth holds more than tensors by name"),
        ("some.pth", b"noise", r"some.pth cannot be read \("),
        ("some.pth", b"", r"some.pth cannot be read \("),
        ("some.safetensors", b"noise", r"some.safetensors is no safetensors \("),
        ("some.pth", HEAD, r"some.pth is of another network: it lacks features.0.0.weight and "),
    ],
)
def test_what_will_not_do_is_refused_in_one_line(
    name: str, content: object, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ParamsError, match=rf"^models.{NAME}.weights: .*{told}") as refusal:
        base.build(spec(weights=str(path)), 0)
    assert "\n" not in str(refusal.value)


def test_weights_of_a_wider_network_are_refused() -> None:
    state = published_like() | {"features.0.0.weight": torch.zeros(32, 3, 3, 3)}
    with pytest.raises(ValueError, match=r"features.0.0.weight of 32x3x3x3 has no place in it"):
        fresh().begin_with(state)


def test_densenets_published_names_are_those_of_old() -> None:
    keys = ["features.denseblock1.denselayer10.norm.1.weight", "features.transition1.norm.weight"]
    renamed = TorchvisionClassifier._renamed
    model = nn.Module()
    model.entry = NETS["densenet161"]  # type: ignore[assignment]
    found = renamed(model, dict.fromkeys(keys, torch.zeros(1)))  # type: ignore[arg-type]
    assert list(found) == ["features.denseblock1.denselayer10.norm1.weight", keys[1]]


def _tiny(image_size: int, num_classes: int = 3) -> nn.Module:
    vit = load().models.VisionTransformer
    net: nn.Module = vit(image_size, 8, 2, 2, 12, 24, num_classes=num_classes)
    return net


def test_positions_of_another_resolution_are_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = NETS["vit_b_16"].model_copy(
        update={"resize": 32, "stages": ("encoder.layers.encoder_layer_0",)}
    )
    monkeypatch.setitem(NETS, "tiny", Net.model_validate(entry))
    monkeypatch.setattr(load().models, "get_model", lambda *_, **__: _tiny(32))
    with seeds.isolated(0):
        model, larger = TorchvisionClassifier(DATA, "tiny"), _tiny(64, 1000)
    state = larger.state_dict()
    grid = torch.linspace(0, 1, 8).repeat(8, 1).flatten()[None, :, None]
    state["encoder.pos_embedding"] = torch.cat([torch.ones(1, 1, 12), grid.expand(1, 64, 12)], 1)
    model.begin_with(state)
    positions = model.get_parameter("net.encoder.pos_embedding")
    row = torch.linspace(0, 1, 4)
    assert positions.shape == (1, 17, 12)
    torch.testing.assert_close(positions[0, 0], torch.ones(12))
    torch.testing.assert_close(positions[0, 1:, 0].view(4, 4), row.repeat(4, 1), atol=0.05, rtol=0)
    inner = "encoder.layers.encoder_layer_{}mlp.0.weight"
    for place in ("0.block.", "1."):
        found = model.get_parameter(f"net.{inner.format(place)}")
        assert torch.equal(found, state[inner.format(place.replace("block.", ""))])
    broken = state | {"encoder.pos_embedding": torch.zeros(1, 60, 12)}
    with pytest.raises(ValueError, match="perfect square"):
        model.begin_with(broken)
