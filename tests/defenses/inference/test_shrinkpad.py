from statistics import mean

import pytest
import torch

from bdb.defenses.inference.shrinkpad import place
from bdb.models.base import Classifier
from bdb.testing import Lab, check_wrapper, lab


def defend(victim: Lab, **fields: int) -> Classifier:
    model = victim.defend("shrinkpad", **fields).model
    assert model is not None
    return model


@pytest.mark.evidence
def test_a_patch_that_is_elsewhere_does_not_work() -> None:
    """ASR 16, 10, 25 %; digits that were never moved in training cost 14, 17, 20 points."""
    victims = [lab("badnets", 0.1, seed) for seed in range(3)]
    after = [victim.rates(defend(victim)) for victim in victims]
    assert all(victim.rates(victim.model)[1] > 0.95 for victim in victims)
    assert mean(success for _, success in after) < 0.3
    assert mean(accuracy for accuracy, _ in after) > 0.7


@pytest.mark.evidence
def test_a_pattern_over_the_whole_image_only_shrinks() -> None:
    """The paper's limit: of lf's ASR nothing is lost."""
    victims = [lab("lf", 0.1, seed) for seed in range(3)]
    assert mean(victim.rates(defend(victim))[1] for victim in victims) > 0.8


def test_moves_the_patch_of_one_victim(badnets: Lab) -> None:
    defended = defend(badnets, shrink=2)
    check_wrapper(defended, badnets.test.images[:16])
    before, after = badnets.rates(badnets.model), badnets.rates(defended)
    assert after[1] < before[1] - 0.3
    assert after[0] > before[0] - 0.1


def test_images_are_placed_where_they_should_be() -> None:
    small = torch.arange(1, 1 + 2 * 3 * 2 * 3).view(2, 3, 2, 3).float()
    offsets = torch.tensor([[0, 2], [1, 0]])
    placed = place(small, offsets, 2)
    assert placed.shape == (2, 3, 4, 5)
    assert torch.equal(placed[0, :, 0:2, 2:5], small[0])
    assert torch.equal(placed[1, :, 1:3, 0:3], small[1])
    assert float(placed.sum()) == float(small.sum())


def test_every_place_is_taken(badnets: Lab) -> None:
    """A white image shows where it was put."""
    defended = defend(badnets, shrink=3)
    generator = torch.Generator().manual_seed(0)
    white = 1 - torch.randint(0, 9, (400, 3, 32, 32), generator=generator) / 255
    shown = defended.before(white)  # type: ignore[operator]
    assert shown.shape == white.shape
    corners = (shown > 0.5).any(1).flatten(1).float().argmax(1)
    assert set(corners.tolist()) == {32 * row + column for row in range(4) for column in range(4)}
    assert ((shown > 0.5).any(1).sum((1, 2)) == 29 * 29).all()
