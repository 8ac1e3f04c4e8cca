from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bdb.defenses.rejection import Rejection
from bdb.testing import Lab


class Found(NamedTuple):
    """How well a detector tells triggered inputs of a victim."""

    auroc: float
    tpr: float
    fpr: float


@pytest.fixture(scope="session")
def detect() -> Callable[..., Found]:
    """Run a detector on a victim; the truth is for the test alone."""

    def run(victim: Lab, name: str, **fields: Any) -> Found:
        from sklearn.metrics import roc_auc_score

        outcome, truth = victim.defend(name, **fields), victim.inputs()[1]
        flagged = outcome.flagged["inputs"].float()
        auroc = roc_auc_score(truth, outcome.scores["inputs"])
        return Found(float(auroc), float(flagged[truth].mean()), float(flagged[~truth].mean()))

    return run


@pytest.fixture(scope="session")
def check_each_alone() -> Callable[[Lab, Rejection], None]:
    """See that scores do not depend on order and company."""

    def check(victim: Lab, defense: Rejection) -> None:
        view = victim.view(defense)
        score = defense.scorer(view, view.split_clean(defense.held_out)[0])
        images: Tensor = view.inputs[:30]
        order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
        together = score(images)
        assert together.shape == (30,)
        apart = torch.cat([score(part) for part in images[order].split(7)])
        torch.testing.assert_close(apart, together[order], rtol=1e-3, atol=1e-3)

    return check
