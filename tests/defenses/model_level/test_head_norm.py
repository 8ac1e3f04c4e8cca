import dataclasses

import pytest
import torch

from bdb.defenses.base import Outcome
from bdb.models import base as models
from bdb.testing import Lab, lab


def judge(victim: Lab) -> tuple[float, list[int]]:
    verdict = victim.defend("head_norm").verdict
    assert verdict is not None
    assert verdict["backdoored"] == bool(verdict["targets"])
    return verdict["score"], verdict["targets"]


def with_norms(victim: Lab, norms: list[float]) -> Outcome:
    model = models.duplicate(victim.model)
    weight = model.head.weight.data
    weight *= torch.tensor(norms)[:, None] / weight.norm(dim=1, keepdim=True)
    return dataclasses.replace(victim, model=model).defend("head_norm")


@pytest.mark.evidence
@pytest.mark.parametrize("attack", ["badnets", "lf"])
def test_names_the_target_on_every_seed(attack: str) -> None:
    """Scores of badnets 11.6, 7.3, 21.0; of lf 5.5, 4.9, 5.9; of clean models 1.7, 1.2, 1.4."""
    found = [judge(lab(attack, 0.1, seed)) for seed in range(3)]
    clean = [judge(lab("none", 0.0, seed)) for seed in range(3)]
    assert [targets for _, targets in clean] == [[], [], []]
    assert min(score for score, _ in found) > max(score for score, _ in clean) + 1
    assert sum(targets == [0] for _, targets in found) >= 2


@pytest.mark.evidence
def test_is_blind_to_little_poison() -> None:
    """Scores 1.4, 1.9 and 1.7, as clean models have."""
    assert [judge(lab("badnets", 0.01, seed))[1] for seed in range(3)] == [[], [], []]


def test_names_the_target(badnets: Lab) -> None:
    score, targets = judge(badnets)
    assert targets == [0]
    assert score > 5


def test_ten_classes_are_enough_for_a_verdict(badnets: Lab) -> None:
    """A z-score of ten values is at most 2.85, and less where a second one stands out."""
    norms = [2.0, 2.05, 1.95, 2.1, 1.9, 2.02, 3.5, 2.0, 3.4, 1.98]
    outcome = with_norms(badnets, norms)
    assert outcome.verdict is not None
    assert outcome.verdict["targets"] == [6, 8]
    torch.testing.assert_close(outcome.evidence["norm"], torch.tensor(norms))
    assert int(outcome.evidence["deviation"].argmax()) == 6


@pytest.mark.parametrize("norms", [[2.0] * 10, [0.5, *[1 + k / 50 for k in range(9)]]])
def test_equal_and_short_rows_are_no_backdoor(badnets: Lab, norms: list[float]) -> None:
    outcome = with_norms(badnets, norms)
    assert outcome.verdict is not None
    assert not outcome.verdict["backdoored"]
