"""Which frequencies the target's logit hangs on."""

import dataclasses
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.fft import idctn

from bdb.analyses.attribution.frequency_saliency import FrequencySaliency
from bdb.models import base as models
from bdb.testing import lab
from bdb.training import inference

PUT = (15, 15)  # where ftrojan raises a coefficient, in both colour channels


def _prominence(table: pd.DataFrame, split: str) -> float:
    """How far the coefficient that the trigger raises stands out."""
    of_all = table.set_index(["down", "across"])[split]
    return cast(float, of_all[PUT] / of_all.median())


def test_a_linear_model_by_hand(plain) -> None:
    """Class 0 is four times the mean green: a sixteenth of it in each pixel, all in the mean."""
    table = FrequencySaliency().run(plain).table.set_index(["down", "across"])
    assert len(table) == 16
    # Of three channels one has a gradient: 4 / 16 in each of 16 pixels is 1 in the coefficient.
    assert table.loc[(0, 0), ["clean", "triggered"]].tolist() == pytest.approx([1 / 3, 1 / 3])
    np.testing.assert_allclose(table[["clean", "triggered"]].drop((0, 0)), 0, atol=1e-7)
    assert table["frequency"].max() == pytest.approx(np.hypot(3 / 8, 3 / 8))


def test_gradients_tell_what_a_little_more_of_a_wave_does(view_of) -> None:
    """Against a difference of the logits, for single coefficients."""
    view = view_of("badnets")
    one = torch.tensor([0])
    given = {**view.given, "test": view.test}
    given["triggered"] = dataclasses.replace(
        view.triggered, **{name: t[one] for name, t in vars(view.triggered).items()}
    )
    view = dataclasses.replace(view, given=given)
    table = FrequencySaliency().run(view).table.set_index(["down", "across"])
    model = models.duplicate(view.model).double()
    image = view.triggered.images.double() / 255
    for at in ((0, 0), (3, 7), (20, 1)):
        moved = []
        for channel in range(3):
            unit = np.zeros((3, 32, 32))
            unit[(channel, *at)] = 1e-4
            wave = torch.from_numpy(idctn(unit, axes=(1, 2), norm="ortho"))
            with torch.no_grad():
                more, less = (model(image + sign * wave)[0, 0] for sign in (1, -1))
            moved.append(abs(float(more - less)) / 2e-4)
        assert table.loc[at, "triggered"] == pytest.approx(np.mean(moved), rel=0.05, abs=1e-3)


def test_a_victim_hangs_on_the_frequency_of_its_trigger(view_of) -> None:
    view, clean = view_of("ftrojan"), lab("none", 0.0).model
    hit = inference.logits(view.model, view.triggered.images).argmax(1) == view.triggered.targets
    assert hit.float().mean() > 0.9
    table = FrequencySaliency(samples=100).run(view).table
    other = dataclasses.replace(view, given={**view.given, "model": clean})
    control = FrequencySaliency(samples=100).run(other).table
    for split in ("clean", "triggered"):
        assert _prominence(table, split) > 10
        assert _prominence(control, split) < 4


def test_without_a_trigger_both_are_the_same(view_of) -> None:
    table = FrequencySaliency(samples=30).run(view_of("none")).table
    np.testing.assert_array_equal(table["clean"], table["triggered"])
    assert table["clean"].min() > 0
