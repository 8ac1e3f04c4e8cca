from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from bdb.defenses import filtering
from bdb.defenses.base import Outcome
from bdb.testing import Lab


class Found(NamedTuple):
    """How well a detector tells the poison of a training set."""

    auroc: float
    tpr: float
    fpr: float


@pytest.fixture(scope="session")
def detected() -> Callable[..., Outcome]:
    """Run a detector of training samples on a victim, and do not train again."""

    def run(victim: Lab, name: str, **fields: Any) -> Outcome:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(filtering, "retrain", lambda view, _: view.model)
            return victim.defend(name, **fields)

    return run


@pytest.fixture(scope="session")
def found(detected: Callable[..., Outcome]) -> Callable[..., Found]:
    """The same, judged; the truth is for the test alone."""

    def run(victim: Lab, name: str, **fields: Any) -> Found:
        from sklearn.metrics import roc_auc_score

        outcome, poison = detected(victim, name, **fields), victim.is_poison()
        flagged = outcome.flagged["train"].float()
        auroc = roc_auc_score(poison, outcome.scores["train"])
        return Found(float(auroc), float(flagged[poison].mean()), float(flagged[~poison].mean()))

    return run
