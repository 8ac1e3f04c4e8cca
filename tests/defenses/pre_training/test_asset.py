from collections.abc import Callable
from dataclasses import replace
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from bdb.defenses.pre_training.asset import ActiveSeparation
from bdb.testing import Lab, lab
from bdb.training.batches import Batch


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("attack", "ratio"), [("badnets", 0.1), ("badnets", 0.02), ("blended", 0.1)]
)
def test_poison_is_driven_from_its_label(
    attack: str, ratio: float, averaged: Callable[..., Any]
) -> None:
    """Over three seeds AUROC 1.000, .981 and 1.000."""
    area, tpr, fpr = averaged((lab(attack, ratio, seed) for seed in range(3)), "asset")
    assert area > 0.93
    assert tpr > 0.7
    assert fpr < 0.12


def test_poison_that_is_half_of_its_class_is_found(badnets: Lab, found: Callable[..., Any]) -> None:
    area, tpr, fpr = found(badnets, "asset")
    assert area > 0.93
    assert tpr > 0.8
    assert fpr < 0.2


@pytest.mark.evidence
def test_without_it_there_is_no_backdoor(retrained: Callable[..., Any]) -> None:
    accuracy, success = retrained((lab("badnets", 0.1, seed) for seed in range(3)), "asset")
    assert accuracy > -0.03
    assert success < 0.2


@pytest.mark.evidence
def test_a_clean_set_loses_what_was_asked(detected: Callable[..., Any]) -> None:
    victims = [lab("none", 0.0, seed) for seed in range(3)]
    flagged = [detected(victim, "asset").flagged["train"].float().mean() for victim in victims]
    assert mean(map(float, flagged)) < 0.15


def cloud(count: int, place: float, seed: int) -> Tensor:
    return place + torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("autocast", [True, False])
def test_the_small_network_tells_what_is_unlike_clean_features(autocast: bool) -> None:
    """Autocast, under which steps run, would keep the weights that it has seen first."""
    given = torch.cat([cloud(100, 0.0, 0), cloud(10, 4.0, 1)])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        unlike = ActiveSeparation().unlike(given, cloud(100, 0.0, 2))
    assert unlike[100:].min() > unlike[:100].quantile(0.95)
    assert unlike[100:].mean() > 0.7


def test_clean_images_are_leveled_and_outliers_alone_driven_off(
    badnets: Lab, as_batch: Callable[..., Batch]
) -> None:
    view = badnets.view(ActiveSeparation())
    model, clean = view.model, as_batch(view.clean_set[torch.arange(64)])
    batch = replace(as_batch(view.train_set[torch.arange(200)]), other=clean)
    leveled = model(clean.raw).var(1).mean()
    for outlyingness, driven in ((1e6, False), (2.5, True)):
        torch.manual_seed(0)
        loss = ActiveSeparation(outlyingness=outlyingness).offset(view)(model, batch)
        assert bool(loss < leveled) is driven
        assert driven or torch.equal(loss, leveled)


def test_the_order_of_delivery_does_not_matter_to_a_step(
    badnets: Lab, as_batch: Callable[..., Batch]
) -> None:
    sets = badnets.train_set, badnets.clean_set
    train, clean = (part[torch.randperm(len(part))] for part in sets)
    losses = []
    for victim in (badnets, replace(badnets, train_set=train, clean_set=clean)):
        view = victim.view(ActiveSeparation())
        batch, other = (
            as_batch(part[part.ids.argsort()[:100]]) for part in (view.train_set, view.clean_set)
        )
        torch.manual_seed(0)
        step = ActiveSeparation().offset(view)
        losses.append(step(view.model, replace(batch, other=other)))
    torch.testing.assert_close(losses[0], losses[1])
