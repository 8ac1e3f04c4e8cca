import dataclasses
import math
from statistics import mean

import pytest
import torch
from torch import Tensor

from bdb.defenses.model_level import mm_bd
from bdb.defenses.model_level.mm_bd import MaximumMargin, log_p_value
from bdb.models import base as models
from bdb.testing import Lab, lab

QUICK = {"restarts": 5, "steps": 100}
CLEAN = torch.tensor([36.0, 19.4, 18.6, 30.2, 23.0, 45.5, 25.1, 24.6, 36.4])


def score(victim: Lab) -> float:
    verdict = victim.defend("mm_bd", **QUICK).verdict
    assert verdict is not None
    return float(verdict["score"])


@pytest.mark.evidence
def test_scores_backdoored_models_above_clean_ones_on_every_seed() -> None:
    """Scores 13.0, 19.5, 8.4 and .6, 4.9, 3.0: the p-value calls two clean models backdoored."""
    backdoored = [score(lab("badnets", 0.1, seed)) for seed in range(3)]
    clean = [score(lab("none", 0.0, seed)) for seed in range(3)]
    assert min(backdoored) > max(clean)
    assert mean(backdoored) > mean(clean) + 5


@pytest.mark.slow
def test_names_the_target(badnets: Lab) -> None:
    outcome = badnets.defend("mm_bd", **QUICK)
    assert outcome.verdict is not None
    assert outcome.verdict["targets"] == [0]
    margins = outcome.evidence["margin"]
    assert int(margins.argmax()) == 0
    assert float(margins[0]) > 1.5 * float(margins[1:].max())


def test_the_margin_is_one_that_some_image_has(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More steps find no less, and no class sees another's group."""
    view = badnets.view(MaximumMargin())
    classes = torch.arange(10)
    before, after = (
        MaximumMargin(restarts=2, steps=steps).search(view, classes) for steps in (1, 10)
    )
    assert (after >= before - 0.05).all()
    assert (after > before).any()
    alone = MaximumMargin(restarts=2, steps=10).search(view, classes[3:4])
    torch.testing.assert_close(alone[0], after[3], rtol=0.05, atol=0.1)
    monkeypatch.setattr(mm_bd, "_FORWARD", 4)
    outcome = MaximumMargin(restarts=2, steps=10).run(view)
    torch.testing.assert_close(outcome.evidence["margin"], after, rtol=0.05, atol=0.1)


def test_images_stay_in_their_range(badnets: Lab) -> None:
    seen: list[Tensor] = []
    view = badnets.view(MaximumMargin())
    view.model.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    MaximumMargin(restarts=2, steps=3, lr=100.0).search(view, torch.arange(2))
    assert len(seen) == 4
    assert all(float(images.min()) >= 0 and float(images.max()) <= 1 for images in seen)


def test_only_a_large_margin_is_unlikely() -> None:
    def with_largest(value: float) -> float:
        return log_p_value(torch.cat([CLEAN, torch.tensor([value])]))

    assert with_largest(46) > math.log10(0.1)
    assert with_largest(60) > with_largest(80) > with_largest(123)
    assert with_largest(123) < -4
    assert math.isfinite(with_largest(1e6))


def test_the_p_value_is_uniform_where_the_fit_is_true() -> None:
    """The largest of many Gamma values is below the median of its kind half of the time."""
    gamma = torch.distributions.Gamma(torch.tensor(9.0), torch.tensor(0.3))
    p_values = torch.tensor([10 ** log_p_value(gamma.sample((200,))) for _ in range(200)])
    assert float(p_values.mean()) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("margins", [[-1.0] * 10, [3.0] * 10, [5.0, 2.0, *[-1.0] * 8]])
def test_margins_that_tell_nothing_are_no_backdoor(margins: list[float]) -> None:
    assert log_p_value(torch.tensor(margins)) == 0


def test_a_model_that_knows_one_class_is_no_backdoor(badnets: Lab) -> None:
    model = models.duplicate(badnets.model)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.arange(10.0))
    outcome = dataclasses.replace(badnets, model=model).defend("mm_bd", restarts=1, steps=2)
    assert outcome.verdict == {"backdoored": False, "targets": [], "suspect": 9, "score": 0}
