"""What several analyses share."""

import dataclasses

import pytest
import torch

from bdb.analyses import common
from bdb.errors import ParamsError
from bdb.report import style


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


def test_only_images_that_the_trigger_is_meant_for_are_shown_with_it(plain) -> None:
    meant = torch.tensor([True, False, True, False, False, False])
    triggered = dataclasses.replace(plain.triggered, is_source=meant)
    view = dataclasses.replace(plain, given={**plain.given, "triggered": triggered})
    assert common.choose(view, 12, "it").triggered.ids.tolist() == [1, 5]
    rows, clean, stamped = common.pairs(view, 12, "it")
    assert sorted(rows.tolist()) == [0, 2]
    assert clean[:, 0, 0, 0].tolist() == [10 + 20 * row for row in rows.tolist()]
    assert stamped[:, 1, 0, 0].tolist() == [255, 255]
    triggered = dataclasses.replace(triggered, is_source=meant & False)
    view = dataclasses.replace(plain, given={**plain.given, "triggered": triggered})
    with pytest.raises(ParamsError, match="none is of a class that badnets is meant for"):
        common.choose(view, 12, "it")
    with pytest.raises(ParamsError, match="no test image is of a class that badnets is meant for"):
        common.pairs(view, 12, "it")


def test_of_many_layers_some_are_named_and_the_last_is() -> None:
    names = [f"layer{at}" for at in range(50)]
    axes = style.new_figure(2, 2).subplots()
    common.name_layers(axes.xaxis, names)
    common.name_layers(axes.yaxis, names[:24])
    many = [text.get_text() for text in axes.get_xticklabels()]
    few = [text.get_text() for text in axes.get_yticklabels()]
    assert many[-4:] == ["layer46", "", "", "layer49"]  # every third
    assert len(many) == 50
    assert sum(map(bool, many)) == 17
    assert few == names[:24]
