from collections.abc import Callable

import pytest
import torch

from bdb.analyses.base import AnalysisView
from bdb.layout import Run
from bdb.testing import lab

ViewOf = Callable[[str], AnalysisView]


@pytest.fixture
def view_of() -> ViewOf:
    """The view of a small real victim."""

    def make(attack: str) -> AnalysisView:
        ratio = 0.0 if attack == "none" else 0.1
        victim = lab(attack, ratio)
        return AnalysisView(
            run=Run("digits", "convnet", attack, f"{ratio:g}", victim.seed),
            data=victim.spec.data,
            model=victim.model,
            test=victim.test,
            triggered=victim.poison.test,
            seed=victim.seed,
            device=torch.device("cpu"),
        )

    return make
