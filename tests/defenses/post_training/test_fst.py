from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from bdb.defenses.base import DefenderView
from bdb.defenses.post_training.fst import FeatureShiftTuning, redraw
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training import inference

# As in the preset of digits.
STRENGTH: dict[str, Any] = {"epochs": 20, "batch_size": 32, "lr": 0.05}


def defend(victim: Lab, **fields: Any) -> Classifier:
    model = victim.defend("fst", **fields).model
    assert model is not None
    return model


@pytest.mark.parametrize(("attack", "limit"), [("badnets", 0.1), ("blended", 0.2)])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str, limit: float) -> None:
    victim = lab(attack)
    before, after = victim.rates(victim.model), victim.rates(defend(victim, **STRENGTH))
    assert before[1] > 0.9
    assert after[1] < limit
    assert after[0] > before[0] - 0.06


@pytest.mark.evidence
def test_removes_what_plain_fine_tuning_leaves_at_a_low_ratio() -> None:
    """The paper's claim, at the same rate, batches and passes."""
    victim = lab("lf", 0.02, 2)
    tuned = victim.defend("ft", **STRENGTH).model
    assert tuned is not None
    assert victim.rates(tuned)[1] > 0.5
    assert victim.rates(defend(victim, **STRENGTH))[1] < 0.2


def test_costs_a_clean_model_at_most_five_points() -> None:
    victim = lab("none", 0.0)
    assert victim.rates(defend(victim, **STRENGTH))[0] > victim.rates(victim.model)[0] - 0.05


def likeness(victim: Lab, model: Classifier) -> Tensor:
    """Of the head's weights and the victim's."""
    heads = (each.head.weight.detach().flatten() for each in (model, victim.model))
    return cosine_similarity(*heads, dim=0)


def test_the_penalty_turns_the_head_away(badnets: Lab) -> None:
    free = defend(badnets, **STRENGTH, alpha=0.0)
    assert likeness(badnets, free) > 0.2
    assert likeness(badnets, defend(badnets, **STRENGTH)) < -0.8


def test_the_features_shift_further_than_by_plain_fine_tuning(badnets: Lab) -> None:
    """Those of triggered images: the paper's claim."""
    images = badnets.poison.test.images
    before = inference.features(badnets.model, images)

    def remains(defense: str) -> Tensor:
        model = badnets.defend(defense, **STRENGTH).model
        assert model is not None
        return cosine_similarity(inference.features(model, images), before).mean()

    assert remains("fst") < remains("ft") - 0.15


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_head_is_as_long_as_it_was(badnets: Lab, epochs: int) -> None:
    length = defend(badnets, epochs=epochs, lr=0.1).head.weight.norm()
    torch.testing.assert_close(length, badnets.model.head.weight.norm())


def test_begins_with_another_head_and_the_old_features(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Classifier] = []
    monkeypatch.setattr(DefenderView, "fit", lambda _, model, *__, **___: seen.append(model))
    defend(badnets)
    (model,) = seen
    assert abs(likeness(badnets, model)) < 0.3
    victim = badnets.model.state_dict()
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, victim[n])}
    assert changed == {"head.weight", "head.bias"}


def test_a_new_head_is_drawn_as_torch_draws_it(badnets: Lab) -> None:
    model = models.duplicate(badnets.model)
    redraw(model.head, torch.Generator().manual_seed(0))
    bound = model.head.in_features**-0.5
    for parameter in model.head.parameters():
        assert parameter.abs().max() <= bound
        assert abs(parameter.mean()) < 0.5 * bound
    assert model.head.weight.abs().max() > 0.95 * bound


def test_an_only_head_is_required() -> None:
    assert FeatureShiftTuning.requires == {"features"}
