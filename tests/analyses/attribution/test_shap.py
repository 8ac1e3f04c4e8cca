"""The trigger's pixels speak for the target."""

import dataclasses

import numpy as np
import pytest
import torch

from bdb.analyses import common
from bdb.analyses.attribution.shap import Shap
from bdb.testing import lab
from bdb.training import inference
from bdb.training.loop import to_float


def test_a_linear_model_by_hand(plain) -> None:
    """Weight times what a pixel is above the background, here a single image."""
    view = dataclasses.replace(plain, given={**plain.given, "test": plain.test[torch.tensor([3])]})
    images = torch.randint(0, 256, (5, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    images, zeros = images.to(torch.uint8), torch.zeros(5, dtype=torch.int64)
    above = (images.float() - plain.test.images[3].float()) / 255
    # Class 0 takes four times the mean green, class 1 the mean red.
    for classes, weights in ((zeros, [0, 4, 0]), (zeros + 1, [1, 0, 0])):
        expected = above * torch.tensor(weights)[:, None, None] / 16
        found = Shap(draws=3).attributions(view, images, classes)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_attributions_add_up_to_what_the_logit_is_above_the_background(view_of) -> None:
    view = view_of("badnets")
    shap = Shap(draws=400, background=20)
    images, classes = view.triggered.images[:3], view.triggered.targets[:3]
    rows = common.spread(view.test.labels, 20, view.generator("background"))
    base = inference.logits(view.model, view.test.images[rows])[:, 0].mean()
    logits = view.model(to_float(images)).gather(1, classes[:, None])[:, 0]
    total = shap.attributions(view, images, classes).sum((1, 2, 3))
    torch.testing.assert_close(total, (logits - base).detach(), rtol=0.15, atol=0.5)


def test_the_trigger_speaks_for_the_victim_s_answer_and_not_for_a_clean_model_s(view_of) -> None:
    view, clean = view_of("badnets"), lab("none", 0.0).model
    table = Shap(samples=30).run(view).table
    assert table["saliency_triggered"].mean() > 0.3  # on 0.9 % of the pixels
    assert table["saliency_clean"].mean() < 0.05
    assert table["focus"].median() > 20
    other = dataclasses.replace(view, given={**view.given, "model": clean})
    assert Shap(samples=30).run(other).table["saliency_triggered"].mean() < 0.1


def test_without_a_trigger_both_maps_are_the_same(view_of) -> None:
    table = Shap(samples=20, draws=5).run(view_of("none")).table
    assert table["overlap"].to_numpy() == pytest.approx(1)
    assert np.isnan(table["saliency_triggered"]).all()


def test_nothing_is_drawn_from_the_global_generators(view_of) -> None:
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    Shap(samples=10, draws=2).run(view_of("badnets"))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])
