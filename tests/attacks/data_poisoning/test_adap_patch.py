from collections.abc import Callable
from typing import Any

import pytest
import torch

from bdb.attacks import victims
from bdb.attacks.data_poisoning.adap_patch import AdaptivePatch
from bdb.testing import Lab, lab, make_context

IDS = torch.arange(400)


def squares(role: str, ids: torch.Tensor = IDS, **fields: object) -> torch.Tensor:
    """How bright each corner of black images becomes under white patches, in [0, 1]: N x 4."""
    images = torch.zeros(len(ids), 1, 16, 16, dtype=torch.uint8)
    state = {"patches": torch.ones(4, 1, 6, 6), "seed": torch.tensor(7)}
    attack = AdaptivePatch(**fields)  # type: ignore[arg-type]
    found = attack.stamp(images, state, role=role, ids=ids, targets=ids)[:, 0] / 255  # type: ignore[arg-type]
    assert bool((found[:, 6:10] == 0).all() and (found[:, :, 6:10] == 0).all())
    inner, whole = found.unflatten(2, (2, 8)).unflatten(1, (2, 8)), found.mean((1, 2))
    corners = inner.amax((2, 4)).flatten(1)
    torch.testing.assert_close(corners.sum(1) * 36 / 256, whole, msg="squares of one colour")
    return corners


def test_each_poison_and_cover_shows_one_faint_patch() -> None:
    for role in ("poison", "cover"):
        shown = squares(role)
        assert bool(((shown > 0).sum(1) == 1).all())
        expected = torch.tensor([0.5, 0.2, 0.5, 0.3])
        torch.testing.assert_close(shown.amax(0), expected, atol=0.003, rtol=0)
        assert bool(((shown > 0).sum(0) > 60).all()), "nearly a quarter each"


def test_test_images_show_the_chosen_patches_in_full() -> None:
    assert squares("test", IDS[:2]).tolist() == [[1, 0, 1, 0]] * 2
    assert squares("test", IDS[:1], test_patches=(1, 2, 3)).tolist() == [[0, 1, 1, 1]]


def test_which_patch_a_sample_shows_depends_on_its_id_alone() -> None:
    assert torch.equal(squares("poison", IDS.flip(0)), squares("poison").flip(0))


def test_no_patch_belongs_to_a_class() -> None:
    """The code deals patches by rank: where data are sorted by class, each gets its own classes."""
    context, _ = make_context()
    plan = victims.planned(AdaptivePatch(), 0.1, context).plan
    assert plan is not None
    assert int(plan.is_cross.sum()) == 2 * int(plan.is_poison.sum())
    ids = plan.ids[plan.is_poison]
    by_class = squares("poison", ids)[context.samples(ids).labels == 1] > 0
    assert int(by_class.any(0).sum()) > 1


@pytest.mark.evidence
def test_detectors_see_less_of_it_than_of_the_plain_attack(
    auroc: Callable[[Lab, str], float], on_digits: Callable[[str], dict[str, Any]]
) -> None:
    plain, adaptive = lab("badnets", 0.03), lab("adap_patch", 0.03, **on_digits("adap_patch"))
    accuracy, success = adaptive.rates(adaptive.model)
    assert accuracy >= 0.97
    assert success >= 0.95
    assert auroc(adaptive, "ac") < auroc(plain, "ac") - 0.02
    assert auroc(adaptive, "spectral") < auroc(plain, "spectral") - 0.1
