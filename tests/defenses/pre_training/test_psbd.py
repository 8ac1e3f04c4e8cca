from collections.abc import Callable
from typing import Any

import pytest
import torch

from bdb.defenses.pre_training.psbd import asleep
from bdb.testing import Lab, lab
from bdb.training import inference


@pytest.mark.slow
def test_poison_keeps_its_confidence(
    found: Callable[..., Any], detected: Callable[..., Any]
) -> None:
    """Over two seeds AUROC .94 and .94 in 20 passes, .93 and .87 in three."""
    victims = [lab("badnets", 0.1, seed) for seed in (0, 1)]
    areas = [found(victim, "psbd", passes=10)[0] for victim in victims]
    assert sum(areas) / len(areas) > 0.85
    outcome = detected(victims[0], "psbd", passes=10)
    poison, flagged = victims[0].is_poison(), outcome.flagged["train"].float()
    assert flagged[poison].mean() > 0.8
    assert flagged[~poison].mean() < 0.4


@pytest.mark.evidence
def test_without_it_there_is_no_backdoor(badnets: Lab) -> None:
    model = badnets.defend("psbd", passes=20).model
    assert model is not None
    accuracy, success = badnets.rates(model)
    # A quarter of the clean samples is lost, the hard ones first.
    assert accuracy > badnets.rates(badnets.model)[0] - 0.2
    assert success < 0.2


@pytest.mark.evidence
def test_poison_under_its_own_label_stays(found: Callable[..., Any]) -> None:
    fields = {"target": 3, "amplitude": 6.0, "amplitude_test": 80.0, "frequency": 4.0}
    victim = lab("sig", 0.1, **fields)
    assert found(victim, "psbd", passes=10)[0] < 0.75


def test_a_clean_set_loses_what_was_asked(detected: Callable[..., Any]) -> None:
    flagged = detected(lab("none", 0.0), "psbd").flagged["train"]
    assert 0.1 < flagged.float().mean() < 0.4  # a quarter


def test_units_sleep_for_every_image_alike_and_wake_again(badnets: Lab) -> None:
    images = badnets.test.images[:40]
    awake = inference.logits(badnets.model, images)
    with asleep(badnets.model, 0.5, torch.Generator().manual_seed(0)):
        first = inference.logits(badnets.model, images)
        torch.testing.assert_close(inference.logits(badnets.model, images[7:9]), first[7:9])
    assert not torch.equal(first, awake)
    assert inference.logits(badnets.model, images).equal(awake)
    with asleep(badnets.model, 0.0, torch.Generator().manual_seed(0)):
        torch.testing.assert_close(inference.logits(badnets.model, images), awake)
