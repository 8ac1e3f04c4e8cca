import dataclasses
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bdb import registry
from bdb.attacks.base import Attack
from bdb.defenses import preactivations
from bdb.defenses.post_training.ep import EntropyPruning, histograms
from bdb.defenses.preactivations import Moments
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import Lab, check_only_silenced, digits, lab, make_context, make_lab, silenced


def defend(victim: Lab, **fields: object) -> Classifier:
    model = victim.defend("ep", **fields).model
    assert model is not None
    return model


def wide(name: str, seed: int = 0) -> Lab:
    """A victim of 32 to 128 channels, among which few stand out more."""
    attack = registry.get("attack", name).make()
    assert isinstance(attack, Attack)
    context, clean = make_context(seed)
    spec = ModelSpec(architecture="convnet", fields={"width": 32}, data=context.data)
    context = dataclasses.replace(context, spec=spec)
    return make_lab(attack, 0.1 if attack.poisons else 0.0, context, clean, digits().test)


@pytest.mark.evidence
def test_removes_a_patch() -> None:
    """Seeds 0, 1, 2: ASR 0, 19, 0 %, and 0, 1, 11 points of C-Acc; in float32 5, 30, 0 %."""
    victims = [lab("badnets", 0.1, seed) for seed in range(3)]
    before = [victim.rates(victim.model) for victim in victims]
    after = [victim.rates(defend(victim, u=2.2)) for victim in victims]
    assert mean(success for _, success in before) > 0.9
    assert mean(success for _, success in after) < 0.4
    assert mean(kept for kept, _ in after) > mean(accuracy for accuracy, _ in before) - 0.2


def test_does_nothing_but_prune(badnets: Lab) -> None:
    defended = defend(badnets, u=2.2)
    cut = silenced(defended)
    assert 0 < len(cut) < 60
    check_only_silenced(defended, badnets.model)


@pytest.mark.evidence
def test_removes_what_covers_the_image_where_each_image_is_one_value() -> None:
    """Seeds 0, 1, 2: ASR 9, 0, 15 %, and 6, 11, 1 points of C-Acc; in float32 52 % on the first."""
    victims = [wide("blended", seed) for seed in range(3)]
    published = [victim.rates(defend(victim, u=2.25)) for victim in victims]
    after = [victim.rates(defend(victim, u=2.25, over="images")) for victim in victims]
    left = mean(success for _, success in after)
    assert left < 0.6
    assert left < mean(success for _, success in published) - 0.2
    assert mean(accuracy for accuracy, _ in after) > 0.75


@pytest.mark.parametrize(("fields", "allowed"), [({}, 0.03), ({"u": 2.2}, 0.12)])
def test_costs_a_clean_model_little(fields: dict[str, Any], allowed: float) -> None:
    """Seeds 0, 1, 2: 0, 0, 0 points at the published strength; 7, 3, 0 at that for digits."""
    clean = lab("none", 0.0)
    before, after = clean.rates(clean.model)[0], clean.rates(defend(clean, **fields))[0]
    assert after > before - allowed


@pytest.mark.parametrize("over", ["places", "images"])
def test_prunes_exactly_the_channel_that_few_images_excite(badnets: Lab, over: str) -> None:
    model = models.duplicate(badnets.model)
    conv = model.get_submodule("stem.0")
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():  # Channel 5 alone sees green, where 20 images are bright.
        conv.weight[5, [0, 2]], conv.weight[5, 1] = 0, 1
        conv.weight[torch.arange(16) != 5, 1] = 0
    generator = torch.Generator().manual_seed(0)
    shape = badnets.train_set.images.shape
    images = torch.randint(0, 50, shape, dtype=torch.uint8, generator=generator)
    images[:20, 1] += 200
    train = dataclasses.replace(badnets.train_set, images=images)
    defended = defend(dataclasses.replace(badnets, model=model, train_set=train), u=3, over=over)
    assert [cut for cut in silenced(defended) if cut[0] == "stem.1"] == [("stem.1", 5)]


def entropy(values: Tensor, bin_width: float) -> float:
    """Of a histogram, in the way one writes it down."""
    z = (values - values.mean()) / values.std(correction=0)
    _, counts = (z / bin_width).floor().unique(return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * shares.log()).sum())


@pytest.mark.parametrize("over", ["places", "images"])
def test_the_entropy_is_that_of_the_standardised_histogram(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch, over: str
) -> None:
    images = badnets.train_set.images[:200]
    maps: list[Tensor] = []

    def see(name: str, found: Tensor) -> None:
        if name == "layer1.bn1":
            maps.append(found.double())

    preactivations.visit(badnets.model, images, see, pooled=over == "images")
    values = maps[0].transpose(0, 1).flatten(1)
    expected = torch.tensor([entropy(channel, 0.1) for channel in values], dtype=torch.float64)
    monkeypatch.setattr("bdb.training.inference.BATCH", 64)
    found = EntropyPruning(over=over).entropies(badnets.model, images)["layer1.bn1"]
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


def test_values_fall_into_their_bins_and_the_last_hold_what_is_beyond() -> None:
    maps = torch.tensor([[0.05, 0.15, 1e9], [-1e9, 10.0, 30.0]])[None, :, :, None]
    scale = Moments(torch.tensor([0.0, 10.0]), torch.tensor([1.0, 400.0]))
    found = histograms(maps, scale, 0.1)
    assert found.shape == (2, 2000)
    assert found.nonzero().tolist() == [
        [0, 1000],
        [0, 1001],
        [0, 1999],
        [1, 0],
        [1, 1000],
        [1, 1010],
    ]


def test_a_channel_that_never_changes_stays(badnets: Lab) -> None:
    model = models.duplicate(badnets.model)
    conv = model.get_submodule("layer2.conv1")
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        conv.weight[3] = 0
    defended = defend(dataclasses.replace(badnets, model=model), u=1)
    cut = [channel for name, channel in silenced(defended) if name == "layer2.bn1"]
    assert cut
    assert 3 not in cut


def test_looks_at_so_many_training_images_and_at_no_label(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EntropyPruning.needs == {"model", "train_set"}
    seen: list[int] = []
    moments = preactivations.moments

    def spy(model: nn.Module, images: Tensor, *, pooled: bool) -> dict[str, Moments]:
        seen.append(len(images))
        return moments(model, images, pooled=pooled)

    monkeypatch.setattr(preactivations, "moments", spy)
    labels = torch.zeros_like(badnets.train_set.labels)
    blind = dataclasses.replace(
        badnets, train_set=dataclasses.replace(badnets.train_set, labels=labels)
    )
    first, second = (defend(victim).state_dict() for victim in (badnets, blind))
    assert all(torch.equal(first[name], second[name]) for name in first)
    defend(badnets, samples=100)
    assert seen == [len(labels), len(labels), 100]
