import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from bdb import registry
from bdb.attacks.data_poisoning.badnets import BadNets
from bdb.datasets.base import DataSpec
from bdb.defenses.base import DefenderView, Defense, Need, Outcome, PostTraining
from bdb.defenses.post_training.fp import FinePruning
from bdb.edges import EDGES, check_defense_edge, edge_lab
from bdb.errors import ParamsError, UndeclaredNeedError
from bdb.models.base import Architecture, Classifier, ModelSpec
from bdb.testing import (
    Lab,
    check_defense,
    check_wrapper,
    digits,
    make_context,
    make_lab,
    narrow,
    run_checked,
)
from bdb.training.recipes import Recipe


@pytest.mark.parametrize("name", registry.names("defense"))
def test_defense_keeps_its_contract(name: str) -> None:
    check_defense(registry.get("defense", name))  # type: ignore[arg-type]


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", registry.names("defense"))
def test_defense_survives_odd_data(name: str, edge: str) -> None:
    check_defense_edge(registry.get("defense", name), edge)  # type: ignore[arg-type]


class PlainNet(Classifier):
    """Two convolutions without any norm."""

    attention_layers = ("layer1", "layer2")

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.layer1 = nn.Sequential(nn.Conv2d(data.shape[0], 8, 3, 2, 1), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(16, data.num_classes)

    def extract(self, normalized: Tensor) -> Tensor:
        return self.layer2(self.layer1(normalized)).mean((2, 3))


class Plain(Architecture):
    """Batch norm is what many a network of today has none of."""

    name = "plain"
    offers = Architecture.offers - {"batch_norm"}

    def build(self, data: DataSpec) -> PlainNet:
        return PlainNet(data)


@pytest.fixture(scope="module")
def plain() -> Iterator[Lab]:
    """A victim without batch norms."""
    context, clean = make_context(size=200, recipe=Recipe(epochs=1, batch_size=50))
    context = replace(context, spec=ModelSpec(architecture="plain", data=context.data))
    table = registry._registered["model"]
    table["plain"] = Plain
    yield make_lab(BadNets(), 0.1, context, clean, digits().test[torch.arange(100)])
    del table["plain"]


@pytest.mark.parametrize("name", registry.names("defense"))
def test_what_asks_for_no_batch_norm_runs_without(name: str, plain: Lab) -> None:
    cls = registry.get("defense", name)
    assert issubclass(cls, Defense)
    if "batch_norm" not in cls.requires:  # Else it is left out of the plan: test_plan.py
        assert cls.requires <= Plain.offers
        outcome = run_checked(cls(**narrow(cls)), plain)
        if outcome.model is not None:
            check_wrapper(outcome.model)


class Honest(PostTraining):
    """Gives the model back."""

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


def test_the_edges_are_what_they_say() -> None:
    shapes = {name: tuple(edge_lab(name).train_set.images.shape[1:]) for name in EDGES}
    assert shapes["one channel"] == (1, 32, 32)
    assert shapes["not square"] == (3, 24, 32)
    assert shapes["8 pixels wide"] == (3, 8, 8)
    assert shapes["64 pixels and 43 classes"] == (3, 64, 64)
    many = edge_lab("64 pixels and 43 classes", "none", 0.0)
    assert many.spec.data.num_classes == 43
    assert (many.train_set.labels.bincount() > 0).tolist() == [True] * 43
    assert many.train_set.labels.bincount().tolist()[:3] == [10, 10, 2]
    assert edge_lab("two classes").spec.data.num_classes == 2
    assert not (edge_lab("a class absent").train_set.labels == 3).any()
    assert (edge_lab("a class absent").test.labels == 3).any()
    assert len(edge_lab("one clean image").clean_set) == 1
    assert edge_lab("one clean image per class").clean_set.labels.bincount().tolist() == [1] * 10
    for name, rank in (("features all alike", 0), ("features of rank 1", 1)):
        assert torch.linalg.matrix_rank(edge_lab(name).features.train.penultimate) == rank


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("odd"), ValueError),
        (ParamsError("no field is named here"), AssertionError),
        (ParamsError("somewhere: something is wrong"), AssertionError),
    ],
)
def test_the_checker_of_edges_refuses_other_ends(
    error: Exception, expected: type[Exception]
) -> None:
    class Falls(Honest):
        """Ends in an error."""

        def run(self, view: DefenderView) -> Outcome:
            raise error

    with pytest.raises(expected):
        check_defense_edge(Falls, "one channel")


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


@pytest.mark.parametrize(("count", "share", "parts"), [(10, 0.2, (8, 2)), (2, 0.9, (1, 1))])
def test_both_parts_of_the_clean_set_hold_something(
    badnets: Lab, count: int, share: float, parts: tuple[int, int]
) -> None:
    few = dataclasses.replace(badnets, clean_set=badnets.clean_set[torch.arange(count)])
    assert tuple(map(len, few.view(FinePruning()).split_clean(share))) == parts


def test_a_single_clean_image_cannot_be_split(badnets: Lab) -> None:
    single = dataclasses.replace(badnets, clean_set=badnets.clean_set[torch.arange(1)])
    with pytest.raises(ParamsError, match="clean_set: 1 image cannot be split in two; raise"):
        single.view(FinePruning()).split_clean(0.2)


def test_the_view_holds_no_ground_truth(badnets: Lab) -> None:
    class Everything(Honest):
        """Needs all there is."""

        needs = frozenset(get_args(Need))

    view = badnets.view(Everything())
    for images in (view.clean_set, view.train_set):
        assert torch.equal(images.ids, torch.arange(len(images)))
    names = set(dir(view))
    assert not names & {"poison", "is_poison", "target", "trigger", "test", "triggered", "attack"}
    for found, images in (
        (view.features, view.train_set.images),
        (view.clean_features, view.clean_set.images),
    ):
        assert set(vars(found)) == {"penultimate", "logits"}
        assert len(found) == len(images)
    assert len(view.inputs) == len(badnets.test) + len(badnets.poison.test.ids)


def test_a_defense_may_hang_hooks_into_the_loop_and_change_its_data(badnets: Lab) -> None:
    view = badnets.view(registry.get("defense", "ft").make())  # type: ignore[arg-type]
    calls: list[str] = []
    view.fit(
        view.model,
        lambda epoch: view.clean_set[torch.arange(20 + epoch)],
        Recipe(epochs=2, batch_size=32),
        other=view.clean_set,
        before_update=lambda *_: calls.append("before"),
        after_update=lambda *_: calls.append("after"),
    )
    assert calls == ["before", "after"] * 2
