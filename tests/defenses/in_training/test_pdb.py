from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.in_training.pdb import ProactiveDefensiveBackdoor
from bdb.models.base import Classifier, Wrapper
from bdb.testing import Lab, lab
from bdb.training import inference
from bdb.training.loop import Batch, to_float

AsBatch = Callable[[ImageSet], Batch]

# As in the preset of digits.
STRENGTH = {"epochs": 20, "batch_size": 64, "lr": 0.05}


def defend(victim: Lab) -> Classifier:
    model = victim.defend("pdb", **STRENGTH).model
    assert model is not None
    return model


@pytest.fixture(scope="module")
def defended(badnets: Lab) -> Classifier:
    return defend(badnets)


@pytest.mark.evidence
def test_the_model_is_defended_by_its_stamp(badnets: Lab, defended: Classifier) -> None:
    """Without the stamp that it carries, the network has the attacker's backdoor."""
    accuracy, success = badnets.rates(defended)
    assert accuracy > 0.9
    assert success < 0.2
    assert isinstance(defended, Wrapper)
    assert badnets.rates(defended.inner)[1] > 0.8


@pytest.mark.evidence
def test_the_stamp_moves_every_class_by_one(badnets: Lab, defended: Classifier) -> None:
    images = badnets.test.images
    assert isinstance(defended, Wrapper)
    stamped = to_float(images)
    stamped[:, :, :7, :7] = 2
    with torch.no_grad():
        answers = defended.inner(stamped).argmax(1)
    assert (answers == (badnets.test.labels + 1) % 10).float().mean() > 0.9
    assert torch.equal((answers - 1) % 10, inference.logits(defended, images).argmax(1))


def spied(monkeypatch: pytest.MonkeyPatch, victim: Lab, **fields: Any) -> dict[str, Any]:
    """What the training was given."""
    seen: dict[str, Any] = {}

    def fit(*given: object, **options: object) -> None:
        seen.update(options, data=given[2])

    monkeypatch.setattr(DefenderView, "fit", fit)
    victim.defend("pdb", **fields)
    return seen


def test_clean_images_are_there_as_of_the_next_class(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, given, clean = (
        spied(monkeypatch, badnets, copies=2)["data"],
        badnets.train_set,
        badnets.clean_set,
    )
    own = len(given)
    assert len(data) == own + 2 * len(clean)
    assert torch.equal(data.images[:own], given.images)
    assert torch.equal(data.labels[:own], given.labels)
    assert torch.equal(data.images[own:], clean.images.repeat(2, 1, 1, 1))
    assert torch.equal(data.labels[own:], ((clean.labels + 1) % 10).repeat(2))


def test_only_clean_images_are_stamped(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch, watched: Any, as_batch: AsBatch
) -> None:
    seen = spied(monkeypatch, badnets)
    own = len(badnets.train_set)
    batch, model = as_batch(seen["data"][torch.arange(own - 50, own + 50)]), watched
    seen["step"](model, batch)
    assert torch.equal(model.shown[:50], batch.images[:50])
    assert (model.shown[50:, :, :7, :7] == 2).all()
    assert model.shown[50:, :, 7:].max() <= 1


def test_some_are_darker_and_some_turned(badnets: Lab, as_batch: AsBatch) -> None:
    batch = as_batch(badnets.clean_set)
    darker = ProactiveDefensiveBackdoor(rotation=0).roughened(batch)
    factors = darker.sum((1, 2, 3)) / batch.images.sum((1, 2, 3))
    assert 0.1 < (factors < 0.999).float().mean() < 0.3
    assert 0.5 <= factors.min() < 0.65
    turned = ProactiveDefensiveBackdoor(darkening=0).roughened(batch)
    moved = ((turned - batch.images).abs() > 0.01).flatten(1).any(1)
    assert 0.35 < moved.float().mean() < 0.65


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("attack", "fields"),
    [("badnets", {}), ("blended", {}), ("wanet", {"strength": 2.0, "noise": 4.0})],
)
def test_no_backdoor_is_left(attack: str, fields: dict[str, Any]) -> None:
    victims = [lab(attack, 0.1, seed, **fields) for seed in range(3)]
    assert min(victim.rates(victim.model)[1] for victim in victims) > 0.9
    after = [victim.rates(defend(victim)) for victim in victims]
    assert mean(success for _, success in after) < 0.2
    assert mean(accuracy for accuracy, _ in after) > 0.9


@pytest.mark.evidence
def test_costs_a_clean_model_little() -> None:
    victims = [lab("none", 0.0, seed) for seed in range(3)]
    before = mean(victim.rates(victim.model)[0] for victim in victims)
    assert mean(victim.rates(defend(victim))[0] for victim in victims) > before - 0.1
