from collections.abc import Callable
from typing import Any

import pytest
import torch

from bdb.defenses.pre_training.spectre import Spectre
from bdb.testing import lab


@pytest.mark.slow
def test_finds_poison_that_is_the_smaller_part_of_its_class(found: Callable[..., Any]) -> None:
    every = torch.tensor([found(lab(name, 0.02), "spectre") for name in ("badnets", "blended")])
    area, true, false = every.unbind(1)
    assert area.min() > 0.9
    assert true.mean() > 0.7
    assert false.max() < 0.02


@pytest.mark.slow
def test_without_the_outliers_there_is_no_backdoor() -> None:
    victim = lab("badnets", 0.02)
    outcome = victim.defend("spectre")
    assert outcome.model is not None
    before, after = victim.rates(victim.model), victim.rates(outcome.model)
    assert before[1] > 0.9
    assert after[1] < 0.2
    assert after[0] > before[0] - 0.05


@pytest.mark.evidence
def test_a_larger_part_asks_for_a_larger_share(found: Callable[..., Any]) -> None:
    """Every third of the class is poison: a covariance that may leave out a fifth holds some."""
    _, little, _ = found(lab("badnets", 0.05), "spectre")
    area, much, false = found(lab("badnets", 0.05), "spectre", expected=0.3)
    assert little < 0.9 < much
    assert area > 0.95
    assert false < 0.02


@pytest.mark.evidence
def test_poison_that_is_half_of_its_class_stays(found: Callable[..., Any]) -> None:
    _, true, _ = found(lab("blended", 0.1), "spectre")
    assert true < 0.2


def test_a_clean_set_loses_little(detected: Callable[..., Any]) -> None:
    flagged = detected(lab("none", 0.0), "spectre").flagged["train"]
    assert flagged.float().mean() < 0.03


def gaussian(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_scores_do_not_depend_on_scale_or_turn() -> None:
    points, clean = gaussian(300, 3), gaussian(50, 3) * 0.9
    points[:15, 1] += 6
    turn = torch.linalg.qr(gaussian(3, 3)).Q @ torch.diag(torch.tensor([5.0, 0.1, 2.0]).double())
    plain, turned = Spectre().score(points, clean), Spectre().score(points @ turn, clean @ turn)
    torch.testing.assert_close(plain.scores, turned.scores, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(plain.clean, turned.clean, rtol=1e-3, atol=1e-6)
    assert plain.scores[:15].min() > plain.scores[15:].median()
