"""The contract of every registered architecture, on images of 32 x 32."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bdb import registry
from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError
from bdb.models import base, surgery
from bdb.models.base import Classifier, ModelSpec
from bdb.models.torchvision_nets import NETS
from bdb.training import seeds

DATA = DataSpec(
    dataset="any",
    classes=tuple("abcdefg"),
    shape=(3, 32, 32),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.3, 0.4),
)
HEAVY = {"convnext_tiny", "densenet161", "vgg19_bn", "vit_b_16"}
# Convolutions that no batch norm follows: their maps are first pooled, summed or concatenated, or
# are gates. In every other network each has a norm, so that pruning of norms can cut it.
BARE = {
    "airbench94": r"whitening|group\d\.0",
    "densenet161": r".*(denselayer\d+\.conv2|transition\d\.conv)",
    "efficientnet_b3": r".*\.fc[12]",
    "mobilenet_v3_large": r".*\.fc[12]",
    "preactresnet18": r"layer\d\.\d\.(conv2|shortcut\.0)",
    "wrn16_2": r"layer\d\.\d\.(conv2|shortcut\.0)",
}
every_model = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ())
        for name in registry.names("model")
    ],
    scope="module",  # all tests of a model in a row, so that it is built once
)


def build(name: str, seed: int = 0) -> Classifier:
    return base.build(ModelSpec(architecture=name, data=DATA), seed)


@lru_cache(maxsize=1)
def model_of(name: str) -> Classifier:
    """In evaluation mode; one at a time is kept."""
    return build(name).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=seeds.generator(0, "images"))


def alike(one: nn.Module, two: nn.Module) -> bool:
    """Whether every weight and buffer is the same, bit by bit."""
    mine, yours = one.state_dict(), two.state_dict()
    return mine.keys() == yours.keys() and all(map(torch.equal, mine.values(), yours.values()))


@every_model
class TestEveryModel:
    def test_normalised_images_make_features_make_logits(self, name: str, images: Tensor) -> None:
        model = model_of(name)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (DATA.mean, DATA.std))
        with torch.no_grad():
            features, logits = model.extract((images - mean) / std), model(images)
        assert isinstance(model.head, nn.Linear)
        assert features.shape == (2, model.head.in_features)
        assert logits.shape == (2, 7)
        assert torch.allclose(model.head(features), logits, atol=1e-5)

    def test_gradients_reach_the_first_layer_and_the_maps(self, name: str, images: Tensor) -> None:
        model = model_of(name)
        maps: dict[str, Tensor] = {}

        def keep(layer: str) -> None:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                output.retain_grad()
                maps[layer] = output

            hooks.append(model.get_submodule(layer).register_forward_hook(hook))

        hooks: list[torch.utils.hooks.RemovableHandle] = []
        for layer in model.attention_layers:
            keep(layer)
        try:
            model(images)[:, 0].sum().backward()
            trained = [each for each in model.parameters() if each.requires_grad]
            gradients = [parameter.grad for parameter in trained]
        finally:
            model.zero_grad()
            for handle in hooks:
                handle.remove()
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        first = next(parameter for parameter in gradients if parameter.dim() == 4)
        assert first.abs().sum() > 0
        assert list(maps) == list(model.attention_layers)
        assert len(maps) >= 3
        for output in maps.values():
            assert output.dim() == 4
            assert output.shape[0] == 2
            assert output.grad.abs().sum() > 0
        sides = [output.shape[2] for output in maps.values()]
        assert sides == sorted(sides, reverse=True)

    def test_the_tail_goes_on_from_every_stage(self, name: str, images: Tensor) -> None:
        model = model_of(name)
        with surgery.recording(model, model.attention_layers) as stages, torch.no_grad():
            logits = model(images)
        for layer, maps in stages.items():
            if not model.has_tail:
                with pytest.raises(ValueError, match="it goes from no layer"):
                    model.tail(layer, maps)
                continue
            wanted = maps.clone().requires_grad_()
            found = model.tail(layer, wanted)
            torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)
            (gradient,) = torch.autograd.grad(found.sum(), wanted)
            assert gradient.abs().sum() > 0

    def test_saved_and_loaded_it_says_the_same(
        self, name: str, images: Tensor, tmp_path: Path
    ) -> None:
        model = model_of(name)
        base.save(tmp_path / "model.safetensors", model)
        loaded = base.load(tmp_path / "model.safetensors")
        (tmp_path / "model.safetensors").unlink()
        assert loaded.spec == model.spec
        with torch.no_grad():
            assert torch.allclose(loaded(images), model(images), atol=1e-5)
        assert alike(loaded, model)

    def test_it_offers_what_it_says(self, name: str) -> None:
        model, offers = model_of(name), registry.get("model", name).offers  # type: ignore[attr-defined]
        assert ("batch_norm" in offers) == bool(surgery.batch_norms(model))
        assert ("maps" in offers) == bool(model.attention_layers)
        assert ("features" in offers) == model.has_features

    def test_a_norm_follows_each_convolution_that_is_not_named(self, name: str) -> None:
        model = model_of(name)
        if surgery.batch_norms(model):
            normed = {id(conv) for conv, _ in surgery.conv_norm_pairs(model)}
            convs = [each for each in model.named_modules() if isinstance(each[1], nn.Conv2d)]
            bare = {layer for layer, conv in convs if id(conv) not in normed}
            assert {each for each in bare if not re.fullmatch(BARE.get(name, ""), each)} == set()
            assert (name in BARE) == bool(bare)

    def test_the_seed_makes_the_weights(self, name: str) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        assert alike(build(name), model_of(name))
        assert torch.equal(torch.get_rng_state(), before)
        other = build(name, seed=1)
        assert not torch.equal(other.head.weight, model_of(name).head.weight)

    def test_no_layer_works_in_place(self, name: str) -> None:
        assert not any(getattr(module, "inplace", False) for module in model_of(name).modules())


def test_only_a_vision_transformer_has_no_tail() -> None:
    lacking = [name for name, entry in NETS.items() if entry.tokens]
    assert lacking == ["vit_b_16"]


def test_the_tail_of_a_wrapped_model_passes_through_the_wrapper(images: Tensor) -> None:
    inner = build("convnet")
    model = base.wrap(inner, "feature_mask").eval()
    model.get_buffer("mask")[:3] = 0
    with surgery.recording(model, model.attention_layers) as stages, torch.no_grad():
        logits = model(images)
        found = model.tail("inner.layer2", stages["inner.layer2"].clone())
    torch.testing.assert_close(found, logits)
    with pytest.raises(ValueError, match=r"no tail from 'inner.stem' in evaluation mode"):
        model.tail("inner.stem", images)
    with pytest.raises(ValueError, match="in training mode"):
        model.train().tail("inner.layer2", images)


@pytest.fixture(scope="module")
def preact() -> Classifier:
    return build("preactresnet18").eval()


def test_preactresnet18_is_the_published_variant(preact: Classifier) -> None:
    names = set(preact.state_dict())
    expected = {"mean", "std", "conv1.weight", "head.weight", "head.bias"}
    for layer in range(1, 5):
        for block in range(2):
            place = f"layer{layer}.{block}"
            expected |= {f"{place}.conv1.weight", f"{place}.conv2.weight"}
            for norm in ("bn1", "bn2"):
                parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
                expected |= {f"{place}.{norm}.{part}" for part in parts}
        expected |= {f"layer{layer}.0.shortcut.0.weight"} if layer > 1 else set()
    assert names == expected
    assert sum(parameter.numel() for parameter in preact.parameters()) == 11_171_146 - 3 * 513
    assert preact.head.in_features == 512


def test_preactresnet18_does_not_rectify_its_features(preact: Classifier, images: Tensor) -> None:
    with torch.no_grad():
        features = preact.features(images)
        maps = preact.layer4(
            preact.layer3(preact.layer2(preact.layer1(preact.conv1(preact.normalize(images)))))
        )
    assert maps.shape == (2, 512, 4, 4)
    assert torch.allclose(features, maps.mean((2, 3)), atol=1e-5)
    assert features.min() < 0


def test_width_is_that_of_the_stem() -> None:
    narrow = base.build(ModelSpec(architecture="preactresnet18", fields={"width": 4}, data=DATA), 0)
    assert narrow.conv1.out_channels == 4
    assert narrow.head.in_features == 32


def sides(name: str, side: int) -> Iterator[int]:
    """Of the maps, for images of this size."""
    data = DATA.model_copy(update={"shape": (3, side, side)})
    model = base.build(ModelSpec(architecture=name, data=data), 0).eval()
    found: list[int] = []
    for layer in model.attention_layers:
        module = model.get_submodule(layer)
        module.register_forward_hook(lambda _m, _i, output: found.append(output.shape[2]))
    with torch.no_grad():
        model(torch.rand(1, 3, side, side))
    return iter(found)


def test_small_images_keep_the_stride_of_the_stem() -> None:
    assert list(sides("mobilenet_v3_large", 32)) == [16, 8, 4, 2]
    assert list(sides("mobilenet_v3_large", 128)) == [32, 16, 8, 4]
    assert list(sides("efficientnet_b3", 32)) == [16, 8, 4, 2]


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 28, 28)])
def test_images_that_do_not_fit_are_refused(name: str, shape: tuple[int, int, int]) -> None:
    data = DATA.model_copy(update={"shape": shape})
    with pytest.raises(ParamsError, match=f"{name} cannot take .*{shape[1]}x{shape[2]}; it needs"):
        base.build(ModelSpec(architecture=name, data=data), 0)
