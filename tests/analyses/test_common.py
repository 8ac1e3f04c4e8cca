"""What several analyses choose from the test images."""

import torch

from bdb.analyses import common


def test_a_choice_is_spread_and_knows_each_triggered_image_s_twin(view_of) -> None:
    view = view_of("badnets")
    clean, triggered, twins = common.choose(view, 60, "it")
    assert clean.labels.bincount().tolist() == [6] * 10
    assert len(triggered.ids) == 54  # the target has no triggered images
    assert torch.equal(clean.ids[twins], triggered.ids)
    changed = (clean.images[twins] != triggered.images).any(1)
    assert changed.any(2).any(1).all()
    assert changed.float().mean() < 0.02
    assert torch.equal(clean.ids, common.choose(view, 60, "it").clean.ids)


def test_there_are_no_more_than_there_are(plain) -> None:
    clean, triggered, twins = common.choose(plain, 1000, "it")
    assert clean.ids.tolist() == list(range(12))
    assert twins.tolist() == [1, 3, 5, 7, 9, 11]
    assert (triggered.images[:, 1] == 255).any(2).any(1).all()
