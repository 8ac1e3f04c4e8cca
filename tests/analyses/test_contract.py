"""What every analysis keeps, and what its view refuses."""

from dataclasses import replace
from typing import Any, ClassVar, cast

import pandas as pd
import pytest
import torch

from bdb import registry
from bdb.analyses.base import Analysis, AnalysisView, OfData, OfPredictions, Picture
from bdb.errors import RegistryError, UndeclaredNeedError
from bdb.testing import check_analysis, lab, quick

NEEDS = ("model", "clean_model", "train_set", "test", "triggered", "defended", "cost")


_SLOW = {"umap": pytest.mark.evidence}  # Each fit compiles anew, in a process of its own.


@pytest.mark.parametrize(
    "tool", [pytest.param(n, marks=_SLOW.get(n, ())) for n in registry.names("analysis")]
)
def test_every_analysis_keeps_the_contract(tool: str) -> None:
    check_analysis(cast(type[Analysis], registry.get("analysis", tool)))


_SHOW_EVERY_CLASS = {"triggers", "confusion"}  # What a trigger does to each is what they show.
_AIMED = [
    cls
    for cls in (
        cast(type[Analysis], registry.get("analysis", n)) for n in registry.names("analysis")
    )
    if "triggered" in cls.needs and cls.name not in _SHOW_EVERY_CLASS
]


@pytest.mark.parametrize(
    "tool", [cls for cls in _AIMED if cls.name != "umap"]
)  # tsne chooses alike
def test_triggers_on_classes_that_they_are_not_meant_for_count_for_nothing(
    tool: type[Analysis],
) -> None:
    view = lab("badnets").analyst_view(tool.needs)
    meant = view.triggered.labels % 2 == 1
    noise = torch.randint(256, view.triggered.images.shape, generator=torch.Generator())
    spoilt = view.triggered.images.where(meant[:, None, None, None], noise.to(torch.uint8))
    tables = []
    for images in (view.triggered.images, spoilt):
        triggered = replace(view.triggered, images=images, is_source=meant)
        seen = replace(view, given={**view.given, "triggered": triggered})
        tables.append(tool.make(**quick(tool)).run(seen).table)
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("need", NEEDS)
def test_a_view_gives_what_is_declared_and_refuses_the_rest(need: str) -> None:
    victim = lab("badnets")
    view = victim.analyst_view(frozenset({need}))
    assert getattr(view, need) is not None
    for other in set(NEEDS) - {need}:
        with pytest.raises(UndeclaredNeedError, match=f"read '{other}', but declares"):
            getattr(view, other)


def test_the_truth_about_the_training_set_comes_with_it() -> None:
    view = lab("badnets").analyst_view(frozenset({"train_set"}))
    assert int(view.is_poison.sum()) == round(0.1 * len(view.train_set))
    assert (view.train_set.labels[view.is_poison] == 0).all()
    with pytest.raises(UndeclaredNeedError):
        lab("badnets").analyst_view(frozenset({"test"})).is_poison  # noqa: B018


def test_an_analysis_that_reads_more_than_it_declares_fails_the_contract() -> None:
    class Curious(OfData):
        scope: ClassVar = "data"
        needs: ClassVar[frozenset[str]] = frozenset({"test"})

        def run(self, view: AnalysisView) -> Picture:
            return Picture(None, view.model)  # type: ignore[arg-type]

    with pytest.raises(UndeclaredNeedError, match="read 'model'"):
        check_analysis(Curious)


def test_an_analysis_that_changes_the_model_fails_the_contract() -> None:
    triggers = cast(Any, registry.get("analysis", "triggers"))

    class Clumsy(triggers):  # type: ignore[misc]
        def run(self, view: AnalysisView) -> Picture:
            picture = super().run(view)
            with torch.no_grad():
                next(view.model.parameters()).add_(1e-3)
            return cast(Picture, picture)

    with pytest.raises(AssertionError):
        check_analysis(Clumsy)


@pytest.mark.parametrize(
    ("scope", "needs", "message"),
    [
        ("data", {"model"}, "needs 'model', but scope 'data' has only test, train_set, triggered"),
        ("victim", {"model", "defended"}, "needs 'defended', but scope 'victim' has only"),
        ("victim", {"model", "cost"}, "needs 'cost', but scope 'victim' has only"),
        ("cell", {"model"}, "scope 'cell' without 'defended' in needs"),
        ("victim", {"flags"}, "needs 'flags'"),
    ],
)
def test_needs_that_a_scope_does_not_have_are_refused(
    scope: str, needs: set[str], message: str
) -> None:
    with pytest.raises(RegistryError, match=f"^Odd: {message}"):
        type("Odd", (OfPredictions,), {"scope": scope, "needs": frozenset(needs)})
