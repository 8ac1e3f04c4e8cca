import pytest

from bdb.testing import lab

STRENGTH = {"epochs": 40, "batch_size": 32, "lr": 0.2}


@pytest.mark.parametrize(("attack", "limit"), [("badnets", 0.1), ("blended", 0.2)])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str, limit: float) -> None:
    victim = lab(attack)
    accuracy, success = victim.rates(victim.model)
    defended = victim.defend("ft", **STRENGTH).model
    assert defended is not None
    assert defended is not victim.model
    after = victim.rates(defended)
    assert success > 0.9
    assert after[1] < limit
    assert after[0] > accuracy - 0.05


def test_a_gentle_touch_leaves_the_backdoor() -> None:
    victim = lab("badnets")
    defended = victim.defend("ft", epochs=2).model
    assert defended is not None
    assert victim.rates(defended)[1] > 0.9
