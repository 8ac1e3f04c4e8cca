from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch

from bdb.defenses.inference.sentinet import SentiNet, above, fit
from bdb.testing import Lab, lab
from bdb.training.loop import to_float

QUICK = {"overlays": 20}
LESS = QUICK | {"saliency": 0.3, "proposals": 1}


@pytest.mark.evidence
@pytest.mark.parametrize(("fields", "least"), [(QUICK, 0.8), (LESS, 0.93)])
def test_detects_a_patch(
    detect: Callable[..., Any], fields: dict[str, float], least: float
) -> None:
    """AUROC as published .89, .94, .85; with one other class and smaller regions .99, 1.00, .99."""
    found = [detect(lab("badnets", 0.1, seed), "sentinet", **fields) for seed in range(3)]
    assert mean(each.auroc for each in found) > least
    assert mean(each.tpr for each in found) > 0.5
    assert mean(each.fpr for each in found) < 0.12


@pytest.mark.evidence
def test_a_pattern_over_the_whole_image_is_not_local(detect: Callable[..., Any]) -> None:
    """The paper's limit: AUROC .45, .47, .50."""
    found = [detect(lab("lf", 0.1, seed), "sentinet", **QUICK).auroc for seed in range(3)]
    assert mean(found) < 0.7


@pytest.mark.evidence
def test_tells_nothing_of_clean_models(detect: Callable[..., Any]) -> None:
    """AUROC .52, .53, .53."""
    found = [detect(lab("none", 0.0, seed), "sentinet", **QUICK) for seed in range(3)]
    assert mean(each.auroc for each in found) == pytest.approx(0.5, abs=0.08)
    assert mean(each.fpr for each in found) < 0.12


def test_cuts_out_the_patch(badnets: Lab) -> None:
    """Of triggered images, on average, most of the patch and less than half of the rest."""
    triggered = badnets.poison.test
    images = to_float(triggered.images[:64])
    patch = (triggered.images[:64] != badnets.test.of(triggered.ids[:64]).images).any(1)
    defense = SentiNet()
    predicted, region = defense.regions(badnets.view(defense).model, images)
    assert (predicted == 0).float().mean() > 0.9
    assert region.shape == (64, 1, 32, 32)
    assert region[:, 0][patch].float().mean() > 0.6
    assert region[:, 0][~patch].float().mean() < 0.5


def test_a_region_is_pasted_and_noise_put_into_it(badnets: Lab) -> None:
    """A black image changes nothing where black is pasted; nothing is fooled that is not."""
    defense = SentiNet()
    view = badnets.view(defense)
    over = to_float(badnets.clean_set.images[:6])
    found = defense.points(view, badnets.test.images[:20], over)
    assert found.shape == (20, 2)
    assert bool(((found >= 0) & (found <= 1)).all())
    assert torch.equal((6 * found[:, 1]).round(), 6 * found[:, 1])
    triggered = defense.points(view, badnets.poison.test.images[:20], over)
    assert triggered[:, 1].mean() > found[:, 1].mean() + 0.3


def test_the_boundary_runs_through_the_most_fooled() -> None:
    confidence = torch.linspace(0, 0.999, 200)
    curve = 0.9 - 0.8 * confidence.square()
    below = torch.stack([confidence, curve - 0.3], 1)
    boundary = fit(torch.cat([torch.stack([confidence, curve], 1), below]), bins=10)
    expected = 0.9 - 0.8 * boundary[:, 0].square()
    torch.testing.assert_close(boundary[:, 1], expected, rtol=0, atol=1e-5)


def test_the_score_is_the_distance_above_the_boundary() -> None:
    slope = torch.linspace(0, 1, 101, dtype=torch.double)
    boundary = torch.stack([slope, slope], 1)
    points = torch.tensor([[0.2, 0.8], [0.8, 0.2], [0.5, 0.5]])
    expected = torch.tensor([0.6, -0.6, 0.0]) / 2**0.5
    torch.testing.assert_close(above(points, boundary), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("rows", [[[0.3, 0.5]], [[0.3, 0.5], [0.9, 0.1]], [[1.0, 1.0]] * 5])
def test_few_points_have_a_boundary(rows: list[list[float]]) -> None:
    points = torch.tensor(rows)
    boundary = fit(points, bins=10)
    assert boundary.shape == (101, 2)
    assert bool(boundary.isfinite().all())
    assert float(above(points, boundary).abs().max()) < 0.02


def test_no_score_depends_on_the_other_inputs(
    badnets: Lab, check_each_alone: Callable[..., None]
) -> None:
    check_each_alone(badnets, SentiNet(overlays=3))
