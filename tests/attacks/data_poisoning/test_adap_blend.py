from collections.abc import Callable
from statistics import mean

import pytest
import torch
from torch.nn.functional import interpolate

from bdb.attacks import victims
from bdb.attacks.data_poisoning.adap_blend import AdaptiveBlend
from bdb.errors import ParamsError
from bdb.testing import Lab, lab, make_context


def stamped(role: str, ids: torch.Tensor, size: int = 32, **fields: object) -> torch.Tensor:
    """What becomes of black images under a white picture: in [0, 1]."""
    images = torch.zeros(len(ids), 3, size, size, dtype=torch.uint8)
    state = {"picture": torch.ones(3, size, size), "seed": torch.tensor(7)}
    attack = AdaptiveBlend(**fields)
    return attack.stamp(images, state, role=role, ids=ids, targets=ids) / 255  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["poison", "cover"])
def test_half_of_the_tiles_are_hidden_in_training_and_others_in_each_image(role: str) -> None:
    shown = stamped(role, torch.arange(64))
    tiles = shown[:, 0, ::8, ::8]
    assert torch.equal(interpolate(tiles[:, None], 32), shown[:, :1]), "of 8 x 8 pixels"
    assert bool(((tiles > 0).flatten(1).sum(1) == 8).all())
    assert len({tuple(row.tolist()) for row in tiles.flatten(1) > 0}) > 60
    assert shown.unique().tolist() == pytest.approx([0, 0.15], abs=0.003)


def test_test_images_show_the_whole_picture_and_more_of_it() -> None:
    assert stamped("test", torch.arange(4)).unique().tolist() == pytest.approx([0.2])


def test_what_is_hidden_depends_on_the_id_alone() -> None:
    ids = torch.tensor([5, 9, 2])
    assert torch.equal(stamped("poison", ids), stamped("poison", ids.flip(0)).flip(0))


def test_sides_need_not_be_a_multiple_of_the_tiles() -> None:
    shown = stamped("poison", torch.arange(8), size=30, tiles=4, hidden=0.25)
    assert 0.6 < float((shown > 0).float().mean()) < 0.9


def test_there_is_a_cover_for_each_poison_and_none_of_the_target() -> None:
    context, _ = make_context()
    planned = victims.planned(AdaptiveBlend(target=3), 0.05, context).plan
    assert planned is not None
    assert int(planned.is_cross.sum()) == int(planned.is_poison.sum())
    covers = planned.labels[planned.is_cross]
    assert set(covers.tolist()) == set(range(10)) - {3}


def test_too_few_covers_are_refused() -> None:
    context, _ = make_context()
    with pytest.raises(ParamsError, match=r"^adap_blend\.covers_per_poison: 30 asks for"):
        victims.planned(AdaptiveBlend(covers_per_poison=30), 0.05, context)


@pytest.mark.evidence
def test_detectors_see_less_of_it_than_of_the_plain_attack(
    auroc: Callable[[Lab, str], float],
) -> None:
    """On average over seeds: AC alone hardly finds the plain attack here (.65 to .77)."""
    found = {}
    for attack in ("blended", "adap_blend"):
        labs = [lab(attack, 0.03, seed) for seed in range(3)]
        for accuracy, success in (each.rates(each.model) for each in labs):
            assert accuracy >= 0.97
            assert success >= 0.85
        found[attack] = [mean(auroc(each, name) for each in labs) for name in ("ac", "spectral")]
    plain, adaptive = found["blended"], found["adap_blend"]
    assert adaptive[1] < plain[1] - 0.05
    assert mean(adaptive) < mean(plain) - 0.05
