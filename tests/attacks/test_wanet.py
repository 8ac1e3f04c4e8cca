import pytest
import torch
from pydantic import ValidationError

from bdb.attacks.wanet import WaNet, warp
from bdb.testing import Lab, lab, make_context
from bdb.training import inference

FIELDS = {"strength": 2.0, "noise": 4.0}


def victim() -> Lab:
    return lab("wanet", **FIELDS)


def test_the_warp_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    assert accuracy >= 0.97
    assert success >= 0.85


def test_noisy_warps_do_not_reach_the_target() -> None:
    """The noise mode: only the exact warp counts."""
    plan = victim().poison.plan
    noisy = victim().train_set[torch.isin(victim().train_set.ids, plan.ids[plan.is_cross])]
    assert inference.accuracy(victim().model, noisy.images, noisy.labels) > 0.95


def test_noise_samples_are_not_poison() -> None:
    context, _ = make_context()
    plan = victim().poison.plan
    assert int(plan.is_cross.sum()) == 2 * int(plan.is_poison.sum())
    assert not bool((plan.is_cross & plan.is_poison).any())
    true = context.samples(plan.ids).labels
    assert torch.equal(plan.labels[plan.is_cross], true[plan.is_cross])
    assert bool((plan.labels[plan.is_poison] == 0).all())
    assert int(victim().is_poison().sum()) == int(plan.is_poison.sum())


def test_noise_samples_differ_from_the_plain_warp() -> None:
    context, _ = make_context()
    plan, state = victim().poison.plan, victim().poison.state
    cross = plan.is_cross
    clean = context.samples(plan.ids[cross])
    plain = victim().attack.stamp(
        clean.images, state, role="test", ids=clean.ids, targets=clean.labels
    )
    assert bool((plain != victim().poison.images[cross]).flatten(1).any(1).all())


def test_the_displacement_is_the_strength_in_half_pixels() -> None:
    context, _ = make_context()
    grid = WaNet(strength=0.5).prepare_trigger(context)["grid"]
    still = torch.nn.functional.affine_grid(
        torch.eye(2, 3)[None], [1, 1, 32, 32], align_corners=True
    )
    half_pixels = ((grid - still[0]) * 32).abs().mean()
    assert 0.2 < float(half_pixels) < 0.8


def test_the_identity_changes_nothing() -> None:
    images = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    still = torch.nn.functional.affine_grid(
        torch.eye(2, 3)[None], [1, 1, 5, 7], align_corners=True
    )[0]
    assert torch.allclose(warp(images, still), images, atol=1e-5)
    assert len(warp(images[:0], still)) == 0


def test_cover_ratio_is_refused() -> None:
    with pytest.raises(ValidationError):
        WaNet(cover_ratio=0.1)
