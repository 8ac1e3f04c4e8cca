"""A backdoor that is hidden comes back sooner than one that never was."""

from dataclasses import replace
from typing import cast

import pandas as pd
import pytest
import torch

from bdb.analyses import retuning
from bdb.analyses.base import AnalysisView
from bdb.analyses.landscape.relearning import Relearning
from bdb.testing import lab
from bdb.training import inference

# Digits have 364 test images: a tenth of them would make two steps an epoch.
SMALL = {"clean_share": 0.4, "batch_size": 16}


def view_of(defense: str, seed: int = 0, **fields: object) -> AnalysisView:
    victim = lab("badnets", 0.1, seed)
    view = victim.analyst_view(Relearning.needs)
    given = {**view.given, "defended": victim.defend(defense, **fields).model}
    return replace(view, given=given)


def asr(table: pd.DataFrame, model: str) -> list[float]:
    return cast(list[float], table.loc[table["model"] == model, "asr"].tolist())


def test_no_image_is_tuned_on_and_judged_by() -> None:
    view = view_of("clp")
    part = retuning.divide(view, 0.4, 5, 1000)
    assert part.poisoned == 5
    assert len(part.tuning) == round(0.4 * len(view.test)) + 5
    assert len(part.clean.labels) + len(part.tuning) - 5 == len(view.test)
    assert len(part.backdoor.labels) == int(view.triggered.is_source.sum()) - 5
    assert (part.tuning.labels[-5:] == part.backdoor.labels[0]).all()  # badnets has one target
    tuned = {image.numpy().tobytes() for image in part.tuning.images[-5:]}
    assert not tuned & {image.numpy().tobytes() for image in part.backdoor.images}
    few = retuning.divide(view, 0.4, 5, 20)
    assert few.clean.labels.bincount().tolist() == [2] * 10
    assert len(few.backdoor.labels) == 20
    assert torch.equal(few.tuning.images, part.tuning.images)


def test_before_tuning_the_rates_are_those_of_the_models() -> None:
    view = view_of("clp")
    part = retuning.divide(view, SMALL["clean_share"], 5, 2000)
    table = Relearning(epochs=1, **SMALL).run(view).table
    assert table["epoch"].tolist() == [0, 1, 0, 1]
    for name, model in (("defended", view.defended), ("clean model", view.clean_model)):
        hit = inference.logits(model, part.backdoor.images).argmax(1) == part.backdoor.labels
        assert asr(table, name)[0] == pytest.approx(float(hit.float().mean()))


@pytest.mark.evidence
def test_what_i_bau_hides_comes_back_and_what_never_was_does_not() -> None:
    """Min et al. find i_bau's safety the most superficial."""
    before, after, control = [], [], []
    for seed in range(3):
        view = view_of("i_bau", seed, rounds=20, batch_size=32, lr=0.001, search_epochs=2)
        table = Relearning(**SMALL).run(view).table
        before.append(asr(table, "defended")[0])
        after.append(asr(table, "defended")[-1])
        control.append(asr(table, "clean model")[-1])
    assert sum(before) / 3 < 0.05
    assert sum(after) / 3 > 0.4
    assert sum(control) / 3 < 0.2


def test_a_victim_without_triggered_images_has_no_asr() -> None:
    victim = lab("none", 0.0)
    table = Relearning(epochs=1, **SMALL).run(victim.analyst_view(Relearning.needs)).table
    assert table["c_acc"].between(0, 1).all()
    triggered = victim.poison.test.is_source.sum()
    assert torch.isnan(torch.tensor(table["asr"].to_numpy())).all() == (triggered == 0)
