from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from bdb.defenses.inference.scale_up import ScaleUp, by_class
from bdb.testing import Lab, lab

FINE = {"factors": (3, 5, 7, 9, 11, 15, 20, 30), "false_positive_rate": 0.1}


@pytest.mark.evidence
def test_detects_a_patch_and_rejects_what_it_was_told(detect: Callable[..., Any]) -> None:
    """AUROC with the published factors .91, .88, .97; with more of them .93, .88, .97."""
    victims = [lab("badnets", 0.1, seed) for seed in range(3)]
    found = [detect(victim, "scale_up", **FINE) for victim in victims]
    assert mean(detect(victim, "scale_up").auroc for victim in victims) > 0.87
    assert mean(each.auroc for each in found) > 0.87
    assert mean(each.tpr for each in found) > 0.7
    assert mean(each.fpr for each in found) < 0.15


@pytest.mark.evidence
def test_a_warp_is_no_bright_trigger(detect: Callable[..., Any]) -> None:
    """The paper's limit: AUROC .20 on wanet, whose trigger scaling destroys."""
    assert detect(lab("wanet", 0.1, 0, strength=2.0, noise=4.0), "scale_up").auroc < 0.6


@pytest.mark.slow
def test_tells_nothing_of_a_clean_model(detect: Callable[..., Any]) -> None:
    found = detect(lab("none", 0.0), "scale_up", **FINE)
    assert 0.4 < found.auroc < 0.6
    assert found.fpr < 0.2


def test_consistency_is_the_share_of_factors_that_leave_the_prediction(badnets: Lab) -> None:
    """Black images stay; an image of class 1 below a quarter's grey is of class 2 above."""

    class Threshold(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            bright = images.amax((1, 2, 3))
            return (
                torch.stack([bright == 0, (bright > 0) & (bright < 0.75), bright >= 0.75], 1) * 1.0
            )

    defense = ScaleUp(factors=(2, 4, 8))
    view = badnets.view(defense)
    view._copy = Threshold()  # type: ignore[assignment]
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[1:, 0, 0, 0] = torch.tensor([30, 60, 255])
    found = defense.consistency(view, images)
    assert found[:, 0].tolist() == [0, 1, 1, 2]
    torch.testing.assert_close(found[:, 1], torch.tensor([1, 2 / 3, 1 / 3, 1]))


def test_statistics_are_those_of_each_class_predicted() -> None:
    found = torch.tensor([[0, 0.2], [0, 0.4], [0, 0.9], [2, 1.0], [3, 0.6], [3, 0.6]])
    centre, spread = by_class(found, 4)
    first = found[:3, 1]
    torch.testing.assert_close(
        centre, torch.stack([first.mean(), *[found[:, 1].mean()] * 2, torch.tensor(0.6)])
    )
    torch.testing.assert_close(spread[0], first.std())
    torch.testing.assert_close(spread[1:3], found[:, 1].std(correction=0).expand(2))
    assert 0 < float(spread[3]) < 0.01


def test_no_score_depends_on_the_other_inputs(
    badnets: Lab, check_each_alone: Callable[..., None]
) -> None:
    check_each_alone(badnets, ScaleUp())
