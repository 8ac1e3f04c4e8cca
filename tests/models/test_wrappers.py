"""Wrappers: each kind of change of inference, and what every wrapped model keeps."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bdb.datasets.base import DataSpec
from bdb.defenses import features
from bdb.errors import ArtifactError, ParamsError, RegistryError
from bdb.models import base, classifier, surgery
from bdb.models.base import Classifier, ModelSpec, Wrapper, wrapper
from bdb.models.wrappers import Ensemble, Plug
from bdb.testing import check_wrapper
from bdb.training import inference, seeds

DATA = DataSpec(
    dataset="any",
    classes=tuple("abcde"),
    shape=(3, 16, 16),
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.3, 0.4),
)


@wrapper("test_shift")
class Shift(Wrapper):
    """Draws: rolls each image by a random number of columns."""

    def __init__(self, inner: Classifier, seed: int) -> None:
        super().__init__(inner)
        self.seed = seed

    def before(self, images: Tensor) -> Tensor:
        draws = seeds.uniform_by_content(images, 1, self.seed)[:, 0]
        columns = (draws * images.shape[3]).long().tolist()
        rolled = [image.roll(by, 2) for image, by in zip(images, columns, strict=True)]
        return torch.stack(rolled)


@wrapper("test_carefree")
class Carefree(Wrapper):
    """Draws from torch's global generator, as a wrapper must not."""

    def before(self, images: Tensor) -> Tensor:
        return (images + torch.rand_like(images)).clamp(0, 1)


@wrapper("test_next_class")
class NextClass(Wrapper):
    """Changes logits: what was class k is class k + by."""

    def __init__(self, inner: Classifier, by: int) -> None:
        super().__init__(inner)
        self.by = by

    def after(self, logits: Tensor) -> Tensor:
        return logits.roll(self.by, 1)


@wrapper("test_stamp")
class Stamp(Wrapper):
    """A part before the network."""

    def __init__(self, inner: Classifier, channels: int) -> None:
        super().__init__(inner)
        self.part = nn.Conv2d(channels, channels, 1)

    def before(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.part(images))


@wrapper("test_polarizer")
class Polarizer(Plug):
    """A part behind a stage."""

    def __init__(self, inner: Classifier, layer: str, channels: int) -> None:
        super().__init__(inner, layer)
        self.part = nn.Conv2d(channels, channels, 1)

    def change(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.part(maps)
        return changed


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Parts that are wrapped around a model draw their weights from torch's global generator."""
    with seeds.isolated(0):
        yield


def net(seed: int = 0, architecture: str = "convnet") -> Classifier:
    """Small, in evaluation mode, with logits that tell images apart."""
    spec = ModelSpec(architecture=architecture, fields={"width": 4}, data=DATA)
    return base.build(spec, seed).eval()


def polarized(layer: str = "layer2") -> Classifier:
    return base.wrap(net(), "test_polarizer", layer=layer, channels=maps_of(layer)).eval()


def maps_of(layer: str) -> int:
    model = net()
    with surgery.recording(model, [layer]) as stages, torch.no_grad():
        model(torch.zeros(1, *DATA.shape))
    return stages[layer].shape[1]


def ensemble(vote: str = "mean") -> Classifier:
    others = base.wrap(net(1), "test_next_class", by=1), net(2, "preactresnet18")
    return base.wrap(net(), "ensemble", *others, vote=vote).eval()


MODELS = {
    "bare": net,
    "mask": lambda: base.wrap(net(), "feature_mask").eval(),
    "draws": lambda: base.wrap(net(), "test_shift", seed=7).eval(),
    "logits": lambda: base.wrap(net(), "test_next_class", by=1).eval(),
    "before": lambda: base.wrap(net(), "test_stamp", channels=3).eval(),
    "behind a stage": polarized,
    "mean": ensemble,
    "majority": lambda: ensemble("majority"),
    "draws around logits around mask": lambda: base.wrap(
        base.wrap(base.wrap(net(), "feature_mask"), "test_next_class", by=2), "test_shift", seed=1
    ).eval(),
    "mask around logits around a part": lambda: base.wrap(
        base.wrap(polarized(), "test_next_class", by=2), "feature_mask"
    ).eval(),
    "draws around an ensemble": lambda: base.wrap(ensemble(), "test_shift", seed=1).eval(),
    "a module beside it": lambda: base.wrap(
        net(), "inserted_module", side=3, margin=1, width=4, depth=2, weight=0.7
    ).eval(),
    "an ensemble in an ensemble": lambda: base.wrap(ensemble(), "ensemble", ensemble()).eval(),
}


@pytest.fixture
def images() -> Tensor:
    generator = seeds.generator(0, "images")
    return torch.randint(0, 256, (12, *DATA.shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_keeps_the_contract(name: str) -> None:
    check_wrapper(MODELS[name]())


@pytest.mark.parametrize("training", [False, True])
def test_a_wrapped_model_stays_in_its_mode(training: bool, images: Tensor) -> None:
    """Else whoever puts the mode back that it found leaves the model inside in another."""
    model = net().train(training)
    inference.logits(base.wrap(model, "test_shift", seed=7), images)
    assert all(module.training == training for module in model.modules())


def test_draws_from_a_global_generator_are_found() -> None:
    with pytest.raises(AssertionError, match="the batch matters"):
        check_wrapper(base.wrap(net(), "test_carefree").eval())


def test_a_specification_of_another_model_is_found() -> None:
    wrapped = base.wrap(net(), "test_shift", seed=7)
    chain = (base.WrapperSpec(name="test_shift", options={"seed": 8}),)
    wrapped.spec = wrapped.spec.model_copy(update={"wrappers": chain})
    with pytest.raises(AssertionError, match="the model reloads"):
        check_wrapper(wrapped.eval())


def test_draws_follow_content_and_seed(images: Tensor) -> None:
    draws = seeds.uniform_by_content(images, 3, 5)
    order = torch.tensor([4, 4, 0])
    assert torch.equal(seeds.uniform_by_content(images[order].float() / 255, 3, 5), draws[order])
    assert len(draws.unique()) == draws.numel()
    assert 0 <= draws.min() < draws.max() < 1
    assert not torch.equal(seeds.uniform_by_content(images, 3, 6), draws)
    moved = images.clone()
    moved[0, 0, 0, 0] ^= 1
    assert not torch.equal(seeds.uniform_by_content(moved, 3, 5)[0], draws[0])


def test_another_seed_draws_otherwise(images: Tensor) -> None:
    one, two = (
        inference.logits(base.wrap(net(), "test_shift", seed=seed), images) for seed in (1, 2)
    )
    assert not torch.equal(one, two)


def test_changed_logits_pass_through_a_wrapper_of_features(images: Tensor) -> None:
    model = base.wrap(base.wrap(net(), "test_next_class", by=1), "feature_mask")
    torch.testing.assert_close(
        inference.logits(model, images), inference.logits(net(), images).roll(1, 1)
    )
    model.get_buffer("mask").zero_()
    bias = net().head.bias.detach().roll(1)
    torch.testing.assert_close(inference.logits(model, images)[0], bias)


def test_extracted_logits_are_those_of_the_changed_model(images: Tensor) -> None:
    model = base.wrap(net(), "test_next_class", by=1)
    extracted = features.extract(model, images)
    torch.testing.assert_close(extracted.logits, inference.logits(model, images))


def test_an_ensemble_averages_probabilities(images: Tensor) -> None:
    model = ensemble()
    members = net(), base.wrap(net(1), "test_next_class", by=1), net(2, "preactresnet18")
    each = [inference.logits(member, images).softmax(1) for member in members]
    found = inference.logits(model, images).softmax(1)
    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_an_ensemble_counts_votes_and_the_lower_class_wins(images: Tensor) -> None:
    base_logits = inference.logits(net(), images)
    turned = [base.wrap(net(), "test_next_class", by=by) for by in (0, 1)]
    model = base.wrap(net(), "ensemble", *turned, vote="majority")
    shares = inference.logits(model, images).softmax(1)
    best = base_logits.argmax(1, keepdim=True)
    torch.testing.assert_close(shares.gather(1, best), torch.full((12, 1), 2 / 3))
    torch.testing.assert_close(shares.gather(1, (best + 1) % 5), torch.full((12, 1), 1 / 3))
    tied = base.wrap(net(), "ensemble", turned[1], vote="majority")
    lower = torch.minimum(best, (best + 1) % 5)[:, 0]
    assert torch.equal(inference.logits(tied, images).argmax(1), lower)


def test_an_ensemble_has_logits_and_norms_but_no_head(images: Tensor) -> None:
    model = ensemble()
    floats = images.float() / 255
    for ask in (lambda: model.head, lambda: model.features(floats)):
        with pytest.raises(ParamsError, match=r"^ensemble: no single \w+ of 3 members; ask for"):
            ask()
    with pytest.raises(ParamsError, match="no single head"):
        base.wrap(model, "feature_mask")
    with pytest.raises(ParamsError, match="no single features"):
        features.extract(model, images)
    with pytest.raises(ValueError, match="it goes from no layer"):
        model.tail("inner.layer2", floats)
    assert (model.attention_layers, model.has_features, model.has_tail) == ((), False, False)
    norms = [len(surgery.batch_norms(net(0, name))) for name in ("convnet", "preactresnet18")]
    assert len(surgery.batch_norms(model)) == 2 * norms[0] + norms[1]


def test_an_ensemble_is_one_file_without_the_members_around(tmp_path: Path, images: Tensor) -> None:
    model = ensemble("majority")
    base.save(tmp_path / "model.safetensors", model)
    loaded = base.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, Ensemble)
    assert loaded.vote == "majority"
    wanted = loaded.spec.wrappers[0].members
    assert [each.architecture for each in wanted] == ["convnet", "preactresnet18"]
    assert [each.name for each in wanted[0].wrappers] == ["test_next_class"]
    assert torch.equal(inference.logits(loaded, images), inference.logits(model, images))


def test_members_that_do_not_agree_are_refused() -> None:
    other = DATA.model_copy(update={"classes": ("a", "b")})
    stranger = base.build(ModelSpec(architecture="convnet", fields={"width": 4}, data=other), 0)
    with pytest.raises(ParamsError, match="members differ in image shape or classes"):
        base.wrap(net(), "ensemble", stranger)
    with pytest.raises(ParamsError, match="majority"):
        base.wrap(net(), "ensemble", net(1), vote="majorty")


def test_a_plug_changes_the_maps_and_its_copy_is_free_of_it(images: Tensor) -> None:
    model = polarized()
    twin = base.duplicate(model)
    before = inference.logits(twin, images)
    assert not torch.equal(before, inference.logits(net(), images))
    with torch.no_grad():
        model.part.weight.zero_()  # type: ignore[union-attr, operator]
    assert torch.equal(inference.logits(twin, images), before)
    assert not torch.equal(inference.logits(model, images), before)


def test_a_plug_names_the_stages_there_are() -> None:
    with pytest.raises(ParamsError, match="layer2"):
        base.wrap(net(), "test_polarizer", layer="layr2", channels=4)


def test_gradients_reach_the_parts(images: Tensor) -> None:
    for model in (MODELS["before"](), polarized()):
        model(images.float() / 255)[:, 0].sum().backward()
        gradient = model.get_parameter("part.weight").grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def test_what_cannot_be_built_again_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    wrapped = base.wrap(net(), "test_shift", seed=7)
    for name, options, error in (
        ("test_shft", {}, RegistryError),
        ("test_shift", {"sede": 7}, ArtifactError),
    ):
        chain = (base.WrapperSpec(name=name, options=options),)
        wrapped.spec = wrapped.spec.model_copy(update={"wrappers": chain})
        base.save(path, wrapped)
        with pytest.raises(error, match="test_shift" if not options else "sede"):
            base.load(path)


def test_a_wrapper_may_stand_in_a_methods_own_file(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"feature_mask": classifier.find_wrapper("feature_mask")}
    monkeypatch.setattr(classifier, "_wrappers", known)

    def import_methods(kind: str) -> None:
        if kind == "attack":
            known["test_late"] = Shift

    monkeypatch.setattr(classifier.registry, "names", import_methods)
    assert base.wrap(net(), "test_late", seed=1).spec.wrappers[0].name == "test_late"


@pytest.mark.parametrize("shift", [0, 2])
def test_a_stamped_model_answers_by_the_stamped_image(shift: int) -> None:
    plain = base.build(ModelSpec(architecture="convnet", data=DATA), 0).eval()
    model = base.wrap(plain, "stamped", side=3, value=2.0, shift=shift)
    check_wrapper(model)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    stamped = images.clone()
    stamped[:, :, :3, :3] = 2
    with torch.no_grad():
        expected = plain(stamped)
        assert torch.equal(model(images), expected[:, [(k + shift) % 5 for k in range(5)]])
        assert not torch.equal(plain(images), expected)


def test_a_stamp_has_to_leave_something_of_the_image() -> None:
    plain = base.build(ModelSpec(architecture="convnet", data=DATA), 0)
    with pytest.raises(ParamsError, match="side: 16 pixels hide an image of 16x16"):
        base.wrap(plain, "stamped", side=16, value=2.0)
