"""How far a trigger gets in the maps of each stage."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from bdb.analyses import channels
from bdb.analyses.neurons.feature_maps import FeatureMaps
from bdb.errors import ParamsError
from bdb.models.convnet import SmallResNet
from bdb.testing import lab


def _relative(table: pd.DataFrame) -> list[float]:
    """Of each layer as a whole."""
    sums = table.groupby("layer", sort=False)[["change", "clean"]].sum()
    return (sums["change"] / sums["clean"]).tolist()


def test_figures_by_hand(plain) -> None:
    """A quarter of the places gets green: channel 1 from nothing, channel 2 from red."""
    table = FeatureMaps().run(plain).table.set_index("channel")
    red = np.array([10, 30, 50, 70, 90, 110]) / 255
    assert table.index.tolist() in ([1, 2, 0], [2, 1, 0])
    np.testing.assert_allclose(table.loc[1, ["clean", "change", "reach"]].tolist(), [0, 0.25, 0.25])
    expected = [red.mean(), 0.25, 0.25, 0.25 / red.mean()]
    np.testing.assert_allclose(
        table.loc[2, ["clean", "change", "reach", "relative"]].tolist(), expected, rtol=1e-5
    )
    assert table.loc[0, ["change", "reach", "relative"]].tolist() == [0, 0, 0]
    assert np.isnan(table.loc[1, "relative"])


def test_a_patch_grows_on_its_way_through_a_victim_and_not_through_a_clean_model(view_of) -> None:
    view, clean = view_of("badnets"), lab("none", 0.0).model
    inside = _relative(FeatureMaps().run(view).table)
    assert len(inside) == 3
    assert inside[2] > 3 * inside[0]
    others = dataclasses.replace(view, given={**view.given, "model": clean})
    assert inside[2] > 3 * _relative(FeatureMaps().run(others).table)[2]


def test_without_a_trigger_nothing_changes(view_of) -> None:
    table = FeatureMaps(samples=20).run(view_of("none")).table
    assert (table[["change", "reach"]] == 0).all(axis=None)


def test_batches_add_up(view_of, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FeatureMaps(samples=30).run(view_of("badnets")).table
    monkeypatch.setattr("bdb.analyses.neurons.feature_maps._BATCH", 7)
    parts = FeatureMaps(samples=30).run(view_of("badnets")).table
    key = ["layer", "channel"]
    pd.testing.assert_frame_equal(
        parts.sort_values(key, ignore_index=True), whole.sort_values(key, ignore_index=True)
    )


def test_the_picture_shows_the_maps_of_the_channels_that_change_most(view_of) -> None:
    view = view_of("badnets")
    picture = FeatureMaps(samples=20, channels=1, shown=1).run(view)
    assert len(picture.figure.axes) == 12  # image and three stages: clean, triggered, change
    titles = [axes.get_title() for axes in picture.figure.axes[1:4]]
    first = picture.table.groupby("layer", sort=False).head(1)
    assert titles == [f"{row.layer}\nchannel {row.channel}" for row in first.itertuples()]
    image = torch.from_numpy(np.array(picture.figure.axes[0].images[0].get_array()))
    maps = channels.maps(view, image.permute(2, 0, 1)[None])
    shown = picture.figure.axes[3].images[0].get_array()
    np.testing.assert_allclose(
        shown, maps["layer3"][0, first["channel"].iloc[2]], rtol=1e-4, atol=1e-5
    )


def test_a_model_without_stages_is_refused(view_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallResNet, "attention_layers", ())
    with pytest.raises(ParamsError, match="attention_layers"):
        FeatureMaps().run(view_of("badnets"))
