"""A backdoor hangs on the channels that the trigger moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bdb.analyses import layers
from bdb.analyses.changes import changes, first, ranked
from bdb.analyses.neurons.tac import TriggerActivatedChange
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models import surgery
from bdb.testing import lab


def test_the_change_of_a_channel_by_hand() -> None:
    """The first layer is linear: a channel's change is its filter over the images' difference."""
    victim = lab("badnets")
    stem = victim.model.stem
    clean, triggered = torch.randint(0, 256, (2, 5, 3, 8, 8), generator=torch.manual_seed(0))
    pairs = clean.to(torch.uint8), triggered.to(torch.uint8)
    change, norm = changes(victim.model, ["stem.1"], *pairs)["stem.1"]
    scale = stem[1].weight / (stem[1].running_var + stem[1].eps).sqrt()
    difference = (triggered - clean) / 255 / victim.model.std
    moved = stem[0](difference) * scale.view(1, -1, 1, 1)
    expected = moved.flatten(2).norm(dim=2).mean(0)
    np.testing.assert_allclose(change, expected.detach(), rtol=1e-4)
    before = stem[:2](victim.model.normalize(clean / 255)).flatten(2).norm(dim=2).mean(0)
    np.testing.assert_allclose(norm, before.detach(), rtol=1e-4)


def test_channels_are_ranked_by_change_over_their_layers_norm() -> None:
    found = {"a": (torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))}
    found["b"] = (torch.tensor([8.0, 2.0]), torch.tensor([3.0, 5.0]))
    table = ranked(found)
    assert table["relative"].tolist() == [1, 3, 2, 0.5]
    assert table["rank"].tolist() == [3, 1, 2, 4]
    off = first(table, 2)
    assert {name: each.tolist() for name, each in off.items()} == {
        "a": [False, True],
        "b": [True, False],
    }


def test_silenced_is_what_a_defense_would_prune() -> None:
    victim = lab("badnets")
    pruned = models.duplicate(victim.model).eval()
    off = torch.arange(32) % 3 == 0
    surgery.prune(pruned.layer2.bn1, off)
    images = victim.test.images[:20].float() / 255
    with torch.no_grad(), layers.silenced(victim.model, {"layer2.bn1": off}):
        np.testing.assert_allclose(victim.model(images), pruned(images), atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(victim.model(images), pruned(images), atol=1e-2)


@pytest.mark.parametrize("attack", ["badnets", pytest.param("blended", marks=pytest.mark.evidence)])
def test_without_the_channels_that_move_most_the_backdoor_is_gone(attack: str) -> None:
    """Silencing as many channels at random leaves it."""
    c_acc, asr, at_random = [], [], []
    for seed in range(3):
        view = lab(attack, 0.1, seed).analyst_view(TriggerActivatedChange.needs)
        table = TriggerActivatedChange().run(view).table
        tried = table[(table["rank"] / len(table)).between(0.06, 0.085) & table["asr"].notna()]
        c_acc.append(tried["c_acc"].max())
        asr.append(tried["asr"].min())
        order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
        shuffled = table.assign(rank=order.numpy() + 1)
        with layers.silenced(view.model, first(shuffled, round(0.08 * len(table)))):
            at_random.append(lab(attack, 0.1, seed).rates(view.model)[1])
    assert np.mean(asr) < 0.2
    assert np.mean(c_acc) > 0.9
    assert np.mean(at_random) > 0.7


def test_the_control_has_no_trigger_and_no_change(view_of) -> None:
    picture = TriggerActivatedChange().run(view_of("none"))
    assert (picture.table["tac"] == 0).all()
    assert "moves nothing" in " ".join(picture.figure.get_supxlabel().split())


def test_the_picture_shows_every_channel(view_of) -> None:
    picture = TriggerActivatedChange().run(view_of("badnets"))
    left = picture.figure.axes[0]
    assert sum(len(line.get_xdata()) for line in left.lines) == len(picture.table)
    names = [text.get_text() for text in left.get_xticklabels()]
    assert names == picture.table["layer"].unique().tolist()


def test_a_trigger_that_is_meant_for_no_test_image_is_refused(view_of) -> None:
    view = view_of("badnets")
    meant = replace(view.triggered, is_source=torch.zeros_like(view.triggered.is_source))
    with pytest.raises(ParamsError, match="no test image is of a class that badnets is meant for"):
        TriggerActivatedChange().run(replace(view, given={**view.given, "triggered": meant}))
