from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch

from bdb.datasets.base import ImageSet
from bdb.defenses.inference.ibd_psc import ParameterScaling, in_order
from bdb.models import base as models
from bdb.models import surgery
from bdb.testing import Lab, lab
from bdb.training import inference


@pytest.mark.evidence
@pytest.mark.parametrize(("fields", "least"), [({}, 0.85), ({"omega": 2.0}, 0.87)])
def test_detects_a_patch(
    detect: Callable[..., Any], fields: dict[str, float], least: float
) -> None:
    """AUROC as published .98, .86, .90; with omega 2 .99, .90, .90."""
    found = [
        detect(lab("badnets", 0.1, seed), "ibd_psc", false_positive_rate=0.1, **fields)
        for seed in range(3)
    ]
    assert mean(each.auroc for each in found) > least
    assert mean(each.tpr for each in found) > 0.5
    assert mean(each.fpr for each in found) < 0.15


@pytest.mark.evidence
def test_it_expects_one_target(detect: Callable[..., Any]) -> None:
    """The paper's limit: AUROC .36, .23, .39 all-to-all."""
    victims = [lab("badnets", 0.1, seed, target_rule="all-to-all") for seed in range(3)]
    assert mean(detect(victim, "ibd_psc").auroc for victim in victims) < 0.5


@pytest.mark.slow
def test_tells_nothing_of_a_clean_model(detect: Callable[..., Any]) -> None:
    found = detect(lab("none", 0.0), "ibd_psc")
    assert 0.4 < found.auroc < 0.6
    assert found.fpr < 0.15


def test_norms_come_in_the_order_in_which_images_pass(badnets: Lab) -> None:
    names = [name for name, _ in in_order(badnets.model)]
    assert names[0] == "stem.1"
    assert names[-3:] == ["layer3.bn1", "layer3.bn2", "layer3.shortcut.1"]
    assert set(names) == set(surgery.batch_norms(badnets.model))
    assert not any(norm._forward_hooks for norm in surgery.batch_norms(badnets.model).values())


def test_so_many_norms_are_amplified_that_clean_images_are_misclassified(badnets: Lab) -> None:
    defense = ParameterScaling(omega=4.0, error=0.3, models=2)
    model, clean = models.duplicate(badnets.model), badnets.clean_set
    norms = in_order(model)
    count = defense.first(model, norms, clean)
    assert 1 < count < len(norms) - 1

    def accuracy(last: int) -> float:
        twin = models.duplicate(model)
        amplified = in_order(twin)[-last:]
        with torch.no_grad():
            for _, norm in amplified:
                norm.weight *= 4
                norm.bias *= 4
        return inference.accuracy(twin, clean.images, clean.labels)

    assert accuracy(count) < 0.7
    assert all(accuracy(fewer) >= 0.7 for fewer in range(1, count))


def test_where_no_clean_image_is_misclassified_all_models_fit_in(badnets: Lab) -> None:
    defense = ParameterScaling(omega=1.001)
    norms = in_order(badnets.model)
    assert defense.first(badnets.model, norms, badnets.clean_set) == len(norms) - 4
    assert ParameterScaling(models=50).first(badnets.model, norms, badnets.clean_set) == 1


def test_the_score_is_that_of_the_mean_probability(badnets: Lab) -> None:
    defense = ParameterScaling(models=3)
    view = badnets.view(defense)
    known: ImageSet = badnets.clean_set
    images = badnets.test.images[:40]
    model, norms = badnets.model, in_order(badnets.model)
    first = defense.first(model, norms, known)
    odds = []
    for count in range(first, first + 3):
        twin = models.duplicate(model)
        twin.load_state_dict(twin.state_dict() | defense.amplify(norms[-count:]))
        odds.append(inference.logits(twin, images).double().softmax(1))
    own = inference.logits(model, images).argmax(1)
    psc = torch.stack(odds).mean(0)[torch.arange(40), own]
    found = defense.scorer(view, known)(images)
    torch.testing.assert_close(1 - (-found.double()).exp(), psc, rtol=1e-3, atol=1e-4)
    assert len(found.unique()) > 35  # Where probabilities round to one, scores still differ.


def test_no_score_depends_on_the_other_inputs(
    badnets: Lab, check_each_alone: Callable[..., None]
) -> None:
    check_each_alone(badnets, ParameterScaling())
