"""Images that are made to excite the channels which the trigger moves."""

import dataclasses

import numpy as np
import pytest
import torch

from bdb.analyses import ascent
from bdb.analyses.neurons.feature_visualization import FeatureVisualization
from bdb.testing import lab


def test_the_best_images_of_a_linear_model_are_reached(plain) -> None:
    """All green for channel 1; all red and no green for channel 2, their difference."""
    table = FeatureVisualization(steps=400, lr=0.2).run(plain).table.set_index("channel")
    assert table["activation"].min() > 0.9  # of 1
    red = np.arange(12) * 10 / 255
    assert table.loc[2, "clean_max"] == pytest.approx(red.max(), rel=1e-5)
    assert table.loc[2, "clean_mean"] == pytest.approx(red.mean(), rel=1e-5)
    assert table.loc[1, "triggered_mean"] == pytest.approx(0.25)
    assert table["predicted"].loc[[1, 2]].tolist() == [0, 1]


def test_total_variation_by_hand() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[..., 2:, :] = 1  # one edge: 4 of 12 steps down, none across
    assert ascent.variation(image).tolist() == pytest.approx([1 / 3])


def test_smoothness_smooths() -> None:
    """A checkerboard is asked for, and is less of one the more it costs."""
    squares = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    found = [
        ascent.ascend(
            lambda images: (images * squares).mean((1, 2, 3)),
            torch.full((1, 1, 8, 8), 0.5),
            torch.Generator().manual_seed(0),
            steps=100,
            lr=0.1,
            jitter=0,
            smoothness=smoothness,
        )
        for smoothness in (0, 10)
    ]
    rough, smooth = (float(ascent.variation(images / 255)) for images in found)
    assert rough > 1
    assert smooth < 0.2


def test_what_is_made_excites_more_than_any_test_image(view_of) -> None:
    table = FeatureVisualization().run(view_of("badnets")).table
    assert (table["activation"] / table["clean_max"]).median() > 1.3


@pytest.mark.evidence
def test_what_the_trigger_s_channels_ask_for_is_answered_with_the_target() -> None:
    """Beside the channels of clean models that the same trigger moves most."""
    victims, controls = [], []
    for seed in range(3):
        view = lab("badnets", 0.1, seed).analyst_view(FeatureVisualization.needs)
        clean = dataclasses.replace(
            view, given={**view.given, "model": lab("none", 0.0, seed).model}
        )
        for shares, each in ((victims, view), (controls, clean)):
            table = FeatureVisualization(channels=8).run(each).table
            shares.append((table["predicted"] == 0).mean())
    assert sum(victims) / 3 > 0.4
    assert sum(controls) / 3 < 0.3


def test_the_picture_shows_what_was_made_above_the_best_test_image(view_of) -> None:
    view = view_of("badnets")
    picture = FeatureVisualization(steps=5, channels=2).run(view)
    assert len(picture.figure.axes) == 4
    said = [float(axes.get_xlabel()) for axes in picture.figure.axes]
    expected = [*picture.table["activation"], *picture.table["clean_max"]]
    assert said == pytest.approx(expected, rel=0.006)
    assert picture.figure.axes[0].get_title().startswith(f"channel {picture.table['channel'][0]}\n")
