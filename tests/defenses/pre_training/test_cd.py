import dataclasses
from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch

from bdb.defenses.pre_training.cd import CognitiveDistillation, mask_of, roughness
from bdb.testing import Lab, lab

# As in the preset of digits.
FIELDS = {
    "keeps": "probabilities",
    "steps": 50,
    "size_weight": 1e-5,
    "roughness_weight": 0.1,
    "false_positive_rate": 0.1,
}


def part(victim: Lab, train: int = 300, clean: int = 100) -> Lab:
    """The first of its training and its clean images, for a search that takes a while."""
    return dataclasses.replace(
        victim,
        train_set=victim.train_set[torch.arange(train)],
        clean_set=victim.clean_set[torch.arange(clean)],
    )


@pytest.mark.evidence
def test_a_patch_is_all_that_is_needed(averaged: Callable[..., Any]) -> None:
    """AUROC .98, .93 and .97."""
    victims = (part(lab("badnets", 0.1, seed)) for seed in range(3))
    area, tpr, fpr = averaged(victims, "cd", **FIELDS)
    assert area > 0.9
    assert tpr > 0.85
    assert fpr < 0.25


@pytest.mark.evidence
def test_without_it_there_is_no_backdoor(retrained: Callable[..., Any]) -> None:
    victims = (lab("badnets", 0.1, seed) for seed in range(3))
    accuracy, success = retrained(victims, "cd", **FIELDS)
    assert accuracy > -0.05
    assert success < 0.5


@pytest.mark.evidence
def test_logits_of_a_small_network_tell_what_a_poisoned_image_shows(
    found: Callable[..., Any],
) -> None:
    """AUROC .59, .54 and .68, with the published weights."""
    victims = [part(lab("badnets", 0.1, seed)) for seed in range(3)]
    assert mean(found(victim, "cd", steps=50)[0] for victim in victims) < 0.8


@pytest.mark.evidence
def test_a_clean_set_loses_what_was_asked(detected: Callable[..., Any]) -> None:
    flagged = detected(part(lab("none", 0.0)), "cd", **FIELDS).flagged["train"]
    assert flagged.float().mean() < 0.25


@pytest.mark.slow
def test_a_patched_image_needs_less(badnets: Lab, found: Callable[..., Any]) -> None:
    assert found(part(badnets, 100, 20), "cd", **FIELDS | {"steps": 30})[0] > 0.8


def test_how_rough_a_mask_is() -> None:
    masks = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]], [[[0.5, 0.5], [0.5, 0.5]]]])
    assert roughness(masks).tolist() == [0.5, 0.0]  # two steps of one, over four pixels


def test_a_mask_is_within_bounds() -> None:
    assert mask_of(torch.tensor([-50.0, 0.0, 50.0])).tolist() == [0.0, 0.5, 1.0]


def test_only_what_is_kept_holds_a_mask_open(badnets: Lab) -> None:
    """Where no answer counts, the mask's size alone does."""
    view, images = badnets.view(CognitiveDistillation()), badnets.train_set.images[:4]
    free = CognitiveDistillation(steps=80, size_weight=1.0, roughness_weight=0.0)
    held = CognitiveDistillation(steps=80, size_weight=0.0, roughness_weight=0.0)
    assert (free.size(view, images) < 0.05).all()
    assert (held.size(view, images) > 0.3).all()


@pytest.mark.parametrize("keeps", ["logits", "probabilities"])
def test_sizes_do_not_depend_on_the_batch(badnets: Lab, keeps: Any) -> None:
    defense = CognitiveDistillation(steps=5, keeps=keeps)
    view = badnets.view(defense)
    images = badnets.train_set.images[:6]
    whole, alone = defense.size(view, images), defense.size(view, images[4:5])
    torch.testing.assert_close(whole[4:5], alone, rtol=1e-2, atol=1e-2)
    assert whole.shape == (6,)
