import numpy as np
import pytest
import torch

from bdb.analyses import common
from bdb.analyses.predictions.trigger_strength import TriggerStrength, blend
from bdb.training import inference


def test_a_blend_by_hand_is_rounded_and_stays_within_grey_levels() -> None:
    clean = torch.tensor([[10, 200, 30]], dtype=torch.uint8)
    triggered = torch.tensor([[21, 255, 30]], dtype=torch.uint8)
    assert blend(clean, triggered, 0.5).tolist() == [[16, 228, 30]]  # 15.5 and 227.5, to even
    assert blend(clean, triggered, 1.5).tolist() == [[26, 255, 30]]
    assert torch.equal(blend(clean, triggered, 0.0), clean)
    assert torch.equal(blend(clean, triggered, 1.0), triggered)


def test_without_trigger_and_with_all_of_it_the_rates_are_those_of_the_images(view_of) -> None:
    view = view_of("badnets")
    table = TriggerStrength(samples=100, strongest=2, steps=2).run(view).table
    assert table["strength"].tolist() == [0, 1, 2]
    chosen, *pair = common.pairs(view, 100, "trigger_strength")
    for row, images in zip((0, 1), pair, strict=True):
        answer = inference.logits(view.model, images).argmax(1)
        hit = (answer == view.triggered.targets[chosen]).float().mean()
        right = (answer == view.triggered.labels[chosen]).float().mean()
        assert table["asr"][row] == pytest.approx(hit.item())
        assert table["ra"][row] == pytest.approx(right.item())
    clean, triggered = (images.double() for images in pair)
    assert table["change"][1] == pytest.approx((triggered - clean).abs().mean().item(), rel=1e-5)


def test_the_backdoor_opens_on_the_way_to_the_triggers_own_strength(view_of) -> None:
    table = TriggerStrength().run(view_of("badnets")).table.set_index("strength")
    assert table["asr"][0] < 0.05
    assert table["asr"].iloc[10] > 0.9
    opened = table.index[table["asr"] > 0.5][0]
    assert 0.2 < opened < 1
    np.testing.assert_allclose(table["asr"] + table["ra"], 1, atol=0.1)


def test_the_control_does_not_open(view_of) -> None:
    table = TriggerStrength().run(view_of("none")).table
    assert table["asr"].max() < 0.05
    assert table["ra"].nunique() == 1
    assert (table["change"] == 0).all()


def test_the_picture_shows_one_image_under_growing_strength(view_of) -> None:
    figure = TriggerStrength(steps=3).run(view_of("badnets")).figure
    shown = [axes.images[0].get_array().astype(int) for axes in figure.axes[:6]]
    changes = [int(np.abs(image - shown[0]).sum()) for image in shown]
    assert changes[0] == 0
    assert changes == sorted(changes)
    assert changes[-1] > 0
