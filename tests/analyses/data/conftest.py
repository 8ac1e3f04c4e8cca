from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from bdb import registry
from bdb.analyses.base import AnalysisView
from bdb.attacks import poisoning
from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import ImageSet
from bdb.testing import digits, lab, make_context

DataViewOf = Callable[..., AnalysisView]
NEEDS = frozenset({"test", "triggered"})


@pytest.fixture
def data_view_of() -> DataViewOf:
    """The view of the data of an attack, without a victim."""

    def make(name: str, **fields: Any) -> AnalysisView:
        attack: Any = registry.get("attack", name).make(**fields)
        context, _ = make_context()
        state, test = attack.prepare_trigger(context), digits().test
        given = {"test": test, "triggered": poisoning.triggered_test(attack, context, state, test)}
        return replace(lab("none", 0.0).analyst_view(NEEDS), given=given)

    return make


@pytest.fixture
def view_beside() -> DataViewOf:
    """The view of these images and of what became of them."""

    def make(clean: torch.Tensor, triggered: torch.Tensor) -> AnalysisView:
        labels = torch.arange(len(clean)) % 9 + 1
        test = ImageSet.whole(clean, labels)
        source = torch.ones_like(labels, dtype=torch.bool)
        stamped = Triggered(triggered, test.ids, labels, torch.zeros_like(labels), source)
        view = lab("badnets").analyst_view(NEEDS)
        return replace(view, given={"test": test, "triggered": stamped})

    return make
