from typing import get_args

import pytest
import torch

from bdb import registry
from bdb.defenses.base import DefenderView, Defense, Need, Outcome, UndeclaredNeedError
from bdb.testing import Lab, check_defense


@pytest.mark.parametrize("name", registry.names("defense"))
def test_defense_keeps_its_contract(name: str) -> None:
    check_defense(registry.get("defense", name))  # type: ignore[arg-type]


class Honest(Defense):
    """Gives the model back."""

    stage = "post-training"
    needs = frozenset({"model"})

    def run(self, view: DefenderView) -> Outcome:
        return Outcome(model=view.model)


class Nosy(Honest):
    """Reads what it does not declare."""

    def run(self, view: DefenderView) -> Outcome:
        return Outcome(model=view.model, scores={"inputs": view.inputs.float().mean((1, 2, 3))})


class Vandal(Honest):
    """Changes the copy it was given, which is its right."""

    def run(self, view: DefenderView) -> Outcome:
        with torch.no_grad():
            for parameter in view.model.parameters():
                parameter.zero_()
        return Outcome(model=view.model)


class Denies(Honest):
    """Says that it only detects, and gives a model."""

    mitigates = False


def test_the_checker_accepts_what_is_right() -> None:
    check_defense(Honest)
    check_defense(Vandal)


def test_the_checker_refuses_what_was_not_declared() -> None:
    with pytest.raises(UndeclaredNeedError, match="inputs"):
        check_defense(Nosy)


def test_the_checker_refuses_a_model_of_a_detector() -> None:
    with pytest.raises(AssertionError, match="mitigates"):
        check_defense(Denies)


@pytest.mark.parametrize(
    ("needs", "read", "missing"),
    [
        ({"model", "train_set", "clean_set"}, "features", "features"),
        ({"clean_set"}, "clean_features", "features"),
        ({"features"}, "clean_features", "clean_set"),
    ],
)
def test_features_are_for_those_who_declare_them(
    badnets: Lab, needs: set[str], read: str, missing: str
) -> None:
    class Some(Honest):
        """Declares some of it."""

    Some.needs = frozenset(needs)  # type: ignore[assignment]
    view = badnets.view(Some())
    with pytest.raises(UndeclaredNeedError, match=f"read '{missing}'"):
        getattr(view, read)


def test_the_view_holds_no_ground_truth(badnets: Lab) -> None:
    class Everything(Honest):
        """Needs all there is."""

        needs = frozenset(get_args(Need))

    view = badnets.view(Everything())
    assert not torch.isin(view.clean_set.ids, view.train_set.ids).any()
    names = set(dir(view))
    assert not names & {"poison", "is_poison", "target", "trigger", "test", "triggered", "attack"}
    for found, images in (
        (view.features, view.train_set.images),
        (view.clean_features, view.clean_set.images),
    ):
        assert set(vars(found)) == {"penultimate", "logits"}
        assert len(found) == len(images)
    assert len(view.inputs) == len(badnets.test) + len(badnets.poison.test.ids)
