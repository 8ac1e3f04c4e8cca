import pytest
import torch

from bdb.attacks.data_poisoning.blended import Blended
from bdb.testing import lab, make_context


@pytest.mark.parametrize("pattern", ["picture", "noise"])
def test_either_picture_is_a_backdoor(pattern: str) -> None:
    victim = lab("blended", pattern=pattern)
    accuracy, success = victim.rates(victim.model)
    assert accuracy >= 0.97
    assert success >= 0.9


def test_a_smooth_picture_is_blended_unless_asked_otherwise() -> None:
    context, _ = make_context()
    smooth = Blended().prepare_trigger(context)["picture"]
    noise = Blended(pattern="noise").prepare_trigger(context)["picture"]
    assert float(smooth.diff().abs().mean()) < 0.2 * float(noise.diff().abs().mean())


def test_the_weight_may_be_another_at_test_time() -> None:
    attack = Blended(alpha=0.1, alpha_test=0.5)
    images, ids = torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.arange(1)
    state = {"picture": torch.ones(1, 2, 2)}
    poison = attack.stamp(images, state, role="poison", ids=ids, targets=ids)
    test = attack.stamp(images, state, role="test", ids=ids, targets=ids)
    assert (int(poison.max()), int(test.max())) == (26, 128)
