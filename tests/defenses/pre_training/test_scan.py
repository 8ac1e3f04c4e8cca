from collections.abc import Callable
from typing import Any

import pytest
import torch

from bdb.defenses.pre_training.scan import split, within
from bdb.testing import Lab, lab


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ratio"), [("badnets", 0.02), ("blended", 0.1)])
def test_finds_poison_few_or_more_than_the_clean_part(
    name: str, ratio: float, found: Callable[..., Any]
) -> None:
    area, true, false = found(lab(name, ratio), "scan")
    assert area > 0.9
    assert true > 0.85
    assert false < 0.01


@pytest.mark.slow
def test_without_it_there_is_no_backdoor(badnets: Lab) -> None:
    model = badnets.defend("scan").model
    assert model is not None
    accuracy, success = badnets.rates(model)
    assert accuracy > badnets.rates(badnets.model)[0] - 0.05
    assert success < 0.2


@pytest.mark.evidence
def test_covers_hide_the_poison(found: Callable[..., Any]) -> None:
    area, true, _ = found(lab("adap_blend"), "scan")
    assert area < 0.85
    assert true < 0.2


def test_a_clean_set_loses_nothing(detected: Callable[..., Any]) -> None:
    flagged = detected(lab("none", 0.0), "scan").flagged["train"]
    assert flagged.float().mean() < 0.02


def gaussian(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_two_groups_are_told_apart_and_the_clean_one_is_known() -> None:
    points, clean = gaussian(300, 3), gaussian(20, 3)
    points[:200, 0] += 8  # more of them than of the others
    halves = split(points, clean)
    assert (halves.leaning[:200] > 0).all()
    assert (halves.leaning[200:] < 0).all()
    assert halves.gain == pytest.approx(64 * 2 / 9, rel=0.1)  # distance squared times 2/3 of 1/3
    turned = split(points, clean + torch.tensor([8.0, 0, 0]))
    torch.testing.assert_close(turned.leaning, -halves.leaning)


def test_one_point_many_times_has_no_halves() -> None:
    halves = split(torch.ones(9, 3).double(), torch.ones(2, 3).double())
    assert halves.gain == 0.0
    assert not halves.leaning.any()


def test_the_spread_within_classes_becomes_white() -> None:
    labels = torch.arange(4000) % 2
    features = gaussian(4000, 3) @ torch.diag(torch.tensor([5.0, 1.0, 2.0]).double())
    white = (features + 100 * labels[:, None]) @ within(features + 100 * labels[:, None], labels)
    for label in (0, 1):
        covariance = white[labels == label].T.cov()
        torch.testing.assert_close(covariance, torch.eye(3).double(), atol=0.1, rtol=0)
