from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from bdb.defenses import polarizers
from bdb.defenses.polarizers import Polarizer
from bdb.defenses.post_training.npd import NeuralPolarizer
from bdb.testing import Lab, check_wrapper, lab
from bdb.training import inference
from bdb.training.loop import Batch

# As in the preset of digits.
STRENGTH: dict[str, Any] = {"batch_size": 16, "lr": 0.03, "radius": 4.0}
WANET = {"strength": 2.0, "noise": 4.0}


def defend(victim: Lab, **fields: Any) -> Polarizer:
    model = victim.defend("npd", **fields).model
    assert isinstance(model, Polarizer)
    return model


@pytest.mark.evidence
@pytest.mark.parametrize(("attack", "fields"), [("badnets", {}), ("wanet", WANET)])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str, fields: dict[str, Any]) -> None:
    """Seeds 0, 1, 2: ASR 12, 2, 6 % (badnets), 1, 2, 1 % (wanet), at most 4 points of C-Acc."""
    victims = [lab(attack, 0.1, seed, **fields) for seed in range(3)]
    before = [victim.rates(victim.model) for victim in victims]
    after = [victim.rates(defend(victim, **STRENGTH)) for victim in victims]
    assert min(success for _, success in before) > 0.9
    assert mean(success for _, success in after) < 0.2
    assert mean(accuracy for accuracy, _ in after) > mean(a for a, _ in before) - 0.1


@pytest.mark.evidence
def test_costs_a_clean_model_at_most_eight_points() -> None:
    """Seeds 0, 1, 2: 2, 2 and 1 points."""
    victim = lab("none", 0.0)
    assert victim.rates(defend(victim, **STRENGTH))[0] > victim.rates(victim.model)[0] - 0.08


@pytest.mark.evidence
def test_leaves_a_trigger_that_covers_the_image() -> None:
    """No move of so few steps is like it, and no linear map of what one place shows tells it."""
    victim = lab("blended")
    assert victim.rates(defend(victim, **STRENGTH))[1] > 0.5


def inserted(victim: Lab, **fields: Any) -> tuple[NeuralPolarizer, Polarizer]:
    npd = NeuralPolarizer(**fields)
    return npd, polarizers.insert(victim.view(npd).model, npd.behind)


def test_the_layer_begins_as_the_identity(badnets: Lab) -> None:
    _, model = inserted(badnets)
    images = badnets.test.images[:64]
    found, expected = (inference.logits(m, images) for m in (model, badnets.model))
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize(("behind", "layer"), [(-1, "layer3"), (-2, "layer2"), (-9, "layer1")])
def test_the_layer_follows_a_stage(badnets: Lab, behind: int, layer: str) -> None:
    _, model = inserted(badnets, behind=behind)
    assert model.spec.wrappers[-1].options["layer"] == layer


def test_nothing_but_the_layer_changes(badnets: Lab) -> None:
    model = defend(badnets, epochs=1, warmup_epochs=1)
    victim = badnets.model.state_dict()
    assert all(torch.equal(t, victim[name]) for name, t in model.inner.state_dict().items())
    assert not torch.equal(model.mix.weight, torch.eye(len(model.mix.weight))[:, :, None, None])
    assert model.norm.running_mean is not None
    assert model.norm.running_mean.abs().max() > 0
    assert all(weight.requires_grad for weight in model.parameters())
    check_wrapper(model, badnets.test.images[:64])


def test_images_move_towards_a_wrong_class(badnets: Lab, batch: Batch) -> None:
    npd, model = inserted(badnets, radius=2.0)
    model.train()
    targets, moved = npd.move(model, batch)
    assert model.norm.training
    model.eval()
    assert (targets != batch.labels).all()
    lengths = (moved - batch.images).flatten(1).norm(dim=1)
    assert lengths.max() <= 2.0 + 1e-4
    assert lengths.min() > 0.5
    assert 0 <= moved.min() <= moved.max() <= 1

    def chance(images: Tensor) -> Tensor:
        return model(images).softmax(1).gather(1, targets[:, None])[:, 0]

    assert (chance(moved) > chance(batch.images)).float().mean() > 0.95


def test_a_search_leaves_the_statistics_alone(badnets: Lab, batch: Batch) -> None:
    npd, model = inserted(badnets)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    npd.move(model.train(), batch)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
