from statistics import mean
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bdb.defenses.post_training.sau import SharedAdversarialUnlearning, divergence
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training.loop import Batch

# As in the preset of digits.
STRENGTH: dict[str, Any] = {"epochs": 10, "batch_size": 32, "lr": 0.001}


def defend(victim: Lab, **fields: Any) -> Classifier:
    model = victim.defend("sau", **fields).model
    assert model is not None
    return model


@pytest.mark.evidence
@pytest.mark.parametrize("attack", ["badnets", "blended"])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str) -> None:
    """Seeds 0, 1, 2: ASR 2, 4, 0 % (badnets), 1, 8, 2 % (blended), at most 6 points of C-Acc."""
    victims = [lab(attack, 0.1, seed) for seed in range(3)]
    before = [victim.rates(victim.model) for victim in victims]
    after = [victim.rates(defend(victim, **STRENGTH)) for victim in victims]
    assert min(success for _, success in before) > 0.9
    assert mean(success for _, success in after) < 0.2
    assert mean(accuracy for accuracy, _ in after) > mean(a for a, _ in before) - 0.1


@pytest.mark.evidence
def test_costs_a_clean_model_at_most_eight_points() -> None:
    """Seeds 0, 1, 2: 4, 1 and 3 points."""
    victim = lab("none", 0.0)
    assert victim.rates(defend(victim, **STRENGTH))[0] > victim.rates(victim.model)[0] - 0.08


def test_the_divergence_is_jensens_and_shannons() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 5, 4, generator=generator)
    p, q = first.softmax(1), second.softmax(1)
    entropies = [-(each * each.log()).sum(1) for each in (p, q, (p + q) / 2)]
    expected = entropies[2] - (entropies[0] + entropies[1]) / 2
    torch.testing.assert_close(divergence(first, second), expected)
    assert divergence(first, first).abs().max() < 1e-6
    # So certain that the last class has no chance left with either.
    one, other = torch.tensor([[300.0, 0, 0]]), torch.tensor([[0, 300.0, 0]])
    torch.testing.assert_close(divergence(one, other), torch.tensor([2.0]).log())


def test_a_search_fools_both_models_alike_within_the_radius(badnets: Lab, batch: Batch) -> None:
    suspect = badnets.model
    tuned, generator = models.duplicate(suspect), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in tuned.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(0.5 * weight.abs().mean() * noise)
    nearby = SharedAdversarialUnlearning(fooling=1.0).search(tuned, suspect, batch)
    assert (nearby - batch.images).abs().max() <= 0.2 + 1e-6
    assert 0 <= nearby.min() <= nearby.max() <= 1
    answers = [model(nearby).argmax(1) for model in (tuned, suspect)]
    assert max(float((answer == batch.labels).float().mean()) for answer in answers) < 0.2
    assert (answers[0] == answers[1]).float().mean() > 0.9
    alone = SharedAdversarialUnlearning(fooling=1.0, sharing=0.0).search(tuned, suspect, batch)
    gaps = [divergence(tuned(images), suspect(images)).mean() for images in (nearby, alone)]
    assert gaps[0] < gaps[1]


class Fixed(SharedAdversarialUnlearning):
    """Its search gives the images themselves."""

    def search(self, model: nn.Module, suspect: Classifier, batch: Batch) -> torch.Tensor:
        return batch.images


def test_only_wrong_answers_of_the_suspect_are_unlearned(badnets: Lab, batch: Batch) -> None:
    suspect, model = badnets.model, lab("none", 0.0).model
    wrong = suspect(batch.images).argmax(1)
    wrong[:32] = (wrong[:32] + 1) % 10
    chance = model(batch.images).softmax(1).gather(1, wrong[:, None])[:, 0]

    class Wrong(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(wrong, 10).float()

    found = Fixed(unlearning=2.0).loss(model, Wrong(), batch)  # type: ignore[arg-type]
    penalty = -(1 - chance)[wrong != batch.labels].log().sum() / len(batch)
    expected = cross_entropy(model(batch.images), batch.labels) + 2 * penalty
    assert penalty > 1e-4
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_batch_statistics_stay_and_weights_move(badnets: Lab) -> None:
    defended = defend(badnets, epochs=1)
    norms = surgery.batch_norms(badnets.model)
    for name, norm in surgery.batch_norms(defended).items():
        assert norm.running_mean is not None
        assert torch.equal(norm.running_mean, norms[name].running_mean)  # type: ignore[arg-type]
    assert not torch.equal(defended.head.weight, badnets.model.head.weight)
    assert all(weight.requires_grad for weight in defended.parameters())
