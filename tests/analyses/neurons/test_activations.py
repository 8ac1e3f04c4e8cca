"""What the trigger adds to each channel."""

import dataclasses

import numpy as np
import pytest
import torch

from bdb.analyses.channels import layer_of, readable
from bdb.analyses.neurons.activations import Activations
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models.convnet import SmallResNet


def test_means_by_hand(plain) -> None:
    table = Activations().run(plain).table
    assert table["channel"].tolist() == [1, 0, 2]  # green rises, red stays, red - green falls
    red = np.array([10, 30, 50, 70, 90, 110]) / 255
    np.testing.assert_allclose(table["clean"], [0, red.mean(), red.mean()], atol=1e-6)
    np.testing.assert_allclose(table["difference"], [0.25, 0, -0.25], atol=1e-6)
    np.testing.assert_allclose(table["triggered"], table["clean"] + table["difference"], atol=1e-6)
    np.testing.assert_allclose(table["clean_std"], [0, red.std(), red.std()], atol=1e-6)


def test_the_trigger_raises_some_channels_far_above_what_clean_images_do(view_of) -> None:
    table = Activations().run(view_of("badnets")).table
    assert table["difference"].is_monotonic_decreasing
    effect = table["difference"] / table["clean_std"]
    assert (effect > 2).sum() >= 3
    assert (Activations().run(view_of("none")).table["difference"] == 0).all()


def test_what_it_raises_carries_the_backdoor(view_of) -> None:
    """Without the channels that the trigger raises most, the target is no longer answered."""
    view = view_of("badnets")
    raised = Activations().run(view).table["channel"][:16].tolist()
    model = models.duplicate(view.model)
    model.head.weight.data[:, raised] = 0
    images = view.triggered.images.float() / 255
    with torch.no_grad():
        before, after = (each(images).argmax(1) == 0 for each in (view.model, model))
    assert before.float().mean() > 0.95
    assert after.float().mean() < 0.3


def test_stages_are_counted_from_one_and_found_in_wrapped_models(view_of) -> None:
    view = view_of("badnets")
    first = Activations(stage=1).run(view)
    assert len(first.table) == 16
    assert "layer1" in first.figure.axes[1].get_xlabel()
    wrapped = models.wrap(models.duplicate(view.model), "feature_mask").eval()
    inside = Activations(stage=1).run(
        dataclasses.replace(view, given={**view.given, "model": wrapped})
    )
    np.testing.assert_allclose(inside.table["clean"], first.table["clean"], atol=1e-6)
    assert readable(layer_of(wrapped, 2, "it")) == "layer2"


def test_a_stage_that_is_none_is_refused(view_of, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParamsError, match=r"^activations\.stage: 4, but convnet has 3 stages$"):
        Activations(stage=4).run(view_of("badnets"))
    monkeypatch.setattr(SmallResNet, "attention_layers", ())
    with pytest.raises(ParamsError, match="attention_layers"):
        Activations().run(view_of("badnets"))


def test_the_picture_has_a_bar_for_each_channel_and_names_the_furthest(view_of) -> None:
    picture = Activations().run(view_of("badnets"))
    below = picture.figure.axes[1]
    heights = [bar.get_height() for bar in below.patches]
    np.testing.assert_allclose(heights, picture.table["difference"])
    note = " ".join(picture.figure.get_supxlabel().split())
    assert f"furthest channel {picture.table['channel'][0]}:" in note
    assert "no channel at all" in Activations().run(view_of("none")).figure.get_supxlabel()
