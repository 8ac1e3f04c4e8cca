from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize

from bdb.defenses.pre_training.agpd import Turned
from bdb.testing import Lab, lab


@pytest.mark.slow
@pytest.mark.parametrize("name", ["badnets", "blended"])
def test_gradients_tell_poison_that_is_half_of_its_class(
    name: str, detected: Callable[..., Any]
) -> None:
    victim = lab(name)
    outcome = detected(victim, "agpd")
    assert roc_auc_score(victim.is_poison(), outcome.scores["train"]) > 0.93
    assert outcome.flagged["train"][~victim.is_poison()].float().mean() < 0.05


@pytest.mark.slow
def test_without_it_there_is_no_backdoor(badnets: Lab) -> None:
    outcome = badnets.defend("agpd")
    assert outcome.flagged["train"][badnets.is_poison()].float().mean() > 0.7
    assert outcome.model is not None
    accuracy, success = badnets.rates(outcome.model)
    assert accuracy > badnets.rates(badnets.model)[0] - 0.05
    assert success < 0.5


@pytest.mark.evidence
def test_poison_that_adapts_to_features_does_not_adapt_to_gradients(
    detected: Callable[..., Any],
) -> None:
    victim = lab("adap_blend")
    assert roc_auc_score(victim.is_poison(), detected(victim, "agpd").scores["train"]) > 0.9


@pytest.mark.evidence
def test_a_backdoor_that_barely_works_is_not_seen(detected: Callable[..., Any]) -> None:
    """Half a percent is six samples; ASR 4 %."""
    victim = lab("badnets", 0.005)
    assert detected(victim, "agpd").flagged["train"][victim.is_poison()].float().mean() < 0.7


def test_a_clean_set_loses_little(detected: Callable[..., Any]) -> None:
    assert detected(lab("none", 0.0), "agpd").flagged["train"].float().mean() < 0.03


def scattered(direction: list[float], count: int, seed: int) -> torch.Tensor:
    noise = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return normalize(torch.tensor(direction) + 0.05 * noise, dim=1)


def test_two_directions_are_told_apart() -> None:
    clean = scattered([1, 0, 0], 20, 0)
    own = torch.cat([scattered([1, 0, 0], 50, 1), scattered([0, 1, 0], 70, 2)])
    turned = Turned.of(own, clean)
    assert (turned.share[:50] < 0.5).all()
    assert (turned.share[50:] > 0.5).all()
    assert (turned.clean < 0.5).all()
    assert turned.gap > 20
    assert Turned.of(own[:50], clean).gap == pytest.approx(1, abs=0.4)


def test_where_all_gradients_are_one_nothing_is_said() -> None:
    same = torch.tensor([[1.0, 0, 0]]).expand(9, 3)
    turned = Turned.of(same, same[:3])
    assert turned.gap == 1.0
    assert not turned.share.any()
