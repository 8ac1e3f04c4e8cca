from collections.abc import Callable, Iterable
from statistics import mean
from typing import Any, NamedTuple

import pytest

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
        return victim.defend(name, retrain=False, **fields)

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


@pytest.fixture(scope="session")
def averaged(found: Callable[..., Found]) -> Callable[..., Found]:
    """Means of what is found over several victims."""

    def run(victims: Iterable[Lab], name: str, **fields: Any) -> Found:
        each = [found(victim, name, **fields) for victim in victims]
        return Found(*(mean(values) for values in zip(*each, strict=True)))

    return run


@pytest.fixture(scope="session")
def retrained() -> Callable[..., tuple[float, float]]:
    """Means over several victims, trained again: what C-Acc gains, and the ASR that is left."""

    def run(victims: Iterable[Lab], name: str, **fields: Any) -> tuple[float, float]:
        gained, left = [], []
        for victim in victims:
            model = victim.defend(name, **fields).model
            assert model is not None
            clean, triggered = victim.rates(model)
            gained.append(clean - victim.rates(victim.model)[0])
            left.append(triggered)
        return mean(gained), mean(left)

    return run
