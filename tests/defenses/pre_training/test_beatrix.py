from collections.abc import Callable
from typing import Any

import pytest
import torch

from bdb.defenses.pre_training.beatrix import excess
from bdb.testing import Lab, lab

WARP = {"strength": 2.0, "noise": 4.0}


@pytest.mark.slow
@pytest.mark.parametrize("victim", [("badnets", 0.1, {}), ("wanet", 0.1, WARP)])
def test_finds_poison_that_is_half_of_its_class(
    victim: tuple[str, float, dict[str, float]], found: Callable[..., Any]
) -> None:
    name, ratio, fields = victim
    area, true, false = found(lab(name, ratio, **fields), "beatrix")
    assert area > 0.93
    assert true > 0.6
    assert false < 0.1


@pytest.mark.slow
def test_without_it_there_is_no_backdoor(badnets: Lab) -> None:
    model = badnets.defend("beatrix").model
    assert model is not None
    accuracy, success = badnets.rates(model)
    assert accuracy > badnets.rates(badnets.model)[0] - 0.05
    assert success < 0.2


@pytest.mark.evidence
def test_poison_that_is_like_its_class_stays(found: Callable[..., Any]) -> None:
    """Waves on images of the target class: AUROC .71 and .39 on two seeds."""
    fields = {"target": 3, "amplitude": 6.0, "amplitude_test": 80.0, "frequency": 4.0}
    _, true, _ = found(lab("sig", 0.1, **fields), "beatrix")
    assert true < 0.3


def test_a_clean_set_loses_little(detected: Callable[..., Any]) -> None:
    assert detected(lab("none", 0.0), "beatrix").flagged["train"].float().mean() < 0.08


def test_how_far_a_sample_leaves_its_range() -> None:
    low, high = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    within, above = torch.tensor([[1.5, 0.0]]), torch.tensor([[4.0, 0.0]])
    assert excess(within, low, high).item() == 0.0
    assert excess(above, low, high).item() == pytest.approx(0.5)  # twice the end, of two sums
    asleep = torch.tensor([[1.5, 0.2]])  # The least end is a tenth of the mean of 2 and 0.
    assert excess(asleep, low, high).item() == pytest.approx(1.0)
