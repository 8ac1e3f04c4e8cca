import dataclasses

import pytest
import torch
from sklearn.metrics import roc_auc_score

from bdb.defenses.base import Outcome
from bdb.errors import ParamsError
from bdb.testing import Lab, lab

QUICK = {"overlays": 24, "mix": "add", "false_positive_rate": 0.05}


@pytest.fixture(scope="module")
def outcome(badnets: Lab) -> Outcome:
    return badnets.defend("strip_train", **QUICK)


@pytest.mark.slow
def test_poison_stays_certain(badnets: Lab, outcome: Outcome) -> None:
    poison, flagged = badnets.is_poison(), outcome.flagged["train"].float()
    assert roc_auc_score(poison, outcome.scores["train"]) > 0.9
    assert flagged[poison].mean() > 0.8
    assert flagged[~poison].mean() < 0.2


@pytest.mark.slow
def test_without_it_there_is_no_backdoor(badnets: Lab, outcome: Outcome) -> None:
    assert outcome.model is not None
    accuracy, success = badnets.rates(outcome.model)
    assert accuracy > badnets.rates(badnets.model)[0] - 0.1
    assert success < 0.3


def test_a_clean_set_loses_what_was_asked() -> None:
    victim = lab("none", 0.0)
    defended = victim.defend("strip_train", overlays=8, mix="add")
    assert defended.flagged["train"].float().mean() < 0.25


def test_a_single_clean_image_is_refused(badnets: Lab) -> None:
    single = dataclasses.replace(badnets, clean_set=badnets.clean_set[torch.arange(1)])
    with pytest.raises(ParamsError, match="clean_set: strip_train needs 2 images or more, not 1"):
        single.defend("strip_train")
