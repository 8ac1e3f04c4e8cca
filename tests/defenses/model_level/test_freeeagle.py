import dataclasses
from statistics import mean

import pytest
import torch

from bdb.defenses.base import Outcome
from bdb.defenses.model_level.freeeagle import FreeEagle, _maps_like, tendencies
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.testing import Lab, lab

# As in the preset of digits.
FIELDS = {"layer": 3, "steps": 10}
WANET = {"strength": 2.0, "noise": 4.0}


def judge(victim: Lab) -> tuple[float, int]:
    verdict = victim.defend("freeeagle", **FIELDS).verdict
    assert verdict is not None
    assert "backdoored" not in verdict
    return verdict["score"], verdict["suspect"]


@pytest.mark.evidence
def test_names_the_target_on_every_seed() -> None:
    """Scores of badnets 7.7, 20 and 8.8, of wanet 5.6, 3.2 and 9.1; clean ones .4, 3.4 and .3."""
    clean = [judge(lab("none", 0.0, seed))[0] for seed in range(3)]
    for attack, fields in (("badnets", {}), ("wanet", WANET)):
        found = [judge(lab(attack, 0.1, seed, **fields)) for seed in range(3)]
        assert [suspect for _, suspect in found] == [0, 0, 0]
        assert mean(score for score, _ in found) > mean(clean) + 1.5


@pytest.mark.evidence
def test_does_not_see_what_covers_the_image() -> None:
    clean = [judge(lab("none", 0.0, seed))[0] for seed in range(3)]
    blended = [judge(lab("blended", 0.1, seed))[0] for seed in range(3)]
    assert mean(blended) < mean(clean) + 1.5


def test_names_the_target(badnets: Lab) -> None:
    score, suspect = judge(badnets)
    assert suspect == 0
    assert score > 2


def biased(victim: Lab, target: int, by: float) -> Outcome:
    model = models.duplicate(victim.model)
    model.head.bias.data[target] += by
    return dataclasses.replace(victim, model=model).defend("freeeagle", **FIELDS)


def test_names_a_class_that_everything_is_a_little_of(badnets: Lab) -> None:
    outcome = biased(badnets, 4, 20.0)
    assert outcome.verdict is not None
    assert outcome.verdict["suspect"] == 4
    assert float(outcome.evidence["tendency"][4]) > 0.9


def test_longer_search_finds_maps_of_their_class(badnets: Lab) -> None:
    view = badnets.view(FreeEagle())
    few, many = (FreeEagle(steps=steps).posteriors(view).diagonal() for steps in (1, 60))
    assert (many > few).all()
    assert (many > 0.9).all()


def test_a_class_is_searched_alike_in_any_company(badnets: Lab) -> None:
    view, defense = badnets.view(FreeEagle()), FreeEagle(steps=5)
    together = defense.search(view, "layer2", torch.arange(10))
    alone = defense.search(view, "layer2", torch.tensor([7]))
    torch.testing.assert_close(alone[0], together[7], rtol=1e-3, atol=1e-5)


def test_maps_stay_as_the_stage_makes_them(badnets: Lab) -> None:
    shape, least = _maps_like(badnets.model, "layer2")
    assert (tuple(shape), least) == ((32, 8, 8), 0.0)
    model = models.duplicate(badnets.model)
    model.get_submodule("layer2").relu2 = torch.nn.Identity()
    assert _maps_like(model, "layer2")[1] == -torch.inf


def test_a_class_is_not_seen_in_its_own_maps() -> None:
    posteriors = torch.tensor([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]])
    torch.testing.assert_close(tendencies(posteriors), torch.tensor([0.2, 0.1, 0.05]))


def test_a_stage_that_is_not_there_is_named(badnets: Lab) -> None:
    with pytest.raises(ParamsError, match="layer: 4 is none of 3 stages"):
        badnets.defend("freeeagle", layer=4)
