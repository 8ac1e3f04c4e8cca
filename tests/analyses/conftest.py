from collections.abc import Callable

import pytest

from bdb.analyses.base import AnalysisView
from bdb.testing import lab

ViewOf = Callable[[str], AnalysisView]


@pytest.fixture
def view_of() -> ViewOf:
    """The view of a small real victim."""

    def make(attack: str) -> AnalysisView:
        victim = lab(attack, 0.0 if attack == "none" else 0.1)
        return victim.analyst_view(frozenset({"model", "test", "triggered"}))

    return make
