import pytest
import torch
from pydantic import ValidationError

from bdb.attacks.base import AttackContext
from bdb.attacks.training_controlled.wanet import WaNet, warp
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.testing import Lab, check_attack, lab, make_context
from bdb.training import inference
from bdb.training.batches import Batches
from bdb.training.recipes import RECIPES

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
    assert int(plan.is_cross.sum()) == pytest.approx(2 * int(plan.is_poison.sum()), rel=0.1)
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


def oblong() -> AttackContext:
    """A context of images that are four times as wide as they are high."""
    context, _ = make_context(size=50)
    data = context.data.model_copy(update={"shape": (1, 16, 64)})
    return AttackContext(**{**context.__dict__, "data": data})


def test_displacements_are_in_pixels_of_either_side() -> None:
    grid = WaNet(strength=0.5).prepare_trigger(oblong())["grid"]
    still = torch.nn.functional.affine_grid(
        torch.eye(2, 3)[None], [1, 1, 16, 64], align_corners=True
    )[0]
    half_pixels = (grid - still) * torch.tensor([64, 16])
    across, down = half_pixels.abs().mean((0, 1)).tolist()
    assert 0.15 < across < 0.9
    assert 0.15 < down < 0.9


def test_noise_is_the_same_in_training_and_in_stamping() -> None:
    """One grid for all images and one for each are disturbed alike, also if not square."""
    attack, grid = WaNet(noise=2.0), torch.zeros(16, 64, 2)
    draws = torch.rand(3, 16, 64, 2, generator=torch.Generator().manual_seed(0))
    one, each = attack.disturb(grid, draws), attack.disturb(grid.expand(3, -1, -1, -1), draws)
    assert torch.equal(one, each)
    across, down = one.abs().amax((0, 1, 2)).tolist()
    assert across == pytest.approx(2 / 64, rel=0.01)
    assert down == pytest.approx(2 / 16, rel=0.01)


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


def test_the_published_augmentation_is_a_choice() -> None:
    """Crop with a border of 5 at p .8, rotation by 10 at p .5; mirrored as the data are."""
    of_data = Augmentation(crop_padding=4, flip=True)
    assert WaNet().augmentation(of_data) == of_data
    published = Augmentation(
        crop_padding=5, crop_share=0.8, flip=True, rotation=10, rotation_share=0.5
    )
    chosen = WaNet(published_augmentation=True)
    assert chosen.augmentation(of_data) == published
    assert (WaNet().departs, chosen.departs) == (False, True)


def test_a_recipe_with_a_crop_of_its_own_gives_way() -> None:
    own = RECIPES["airbench"]
    assert WaNet().recipe(own) == own
    given = WaNet(published_augmentation=True).recipe(own)
    images = ImageSet.whole(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4))
    batches = Batches(images, given, Augmentation(crop_padding=5), torch.Generator())
    assert batches.augmentation == Augmentation(crop_padding=5, alternate=True)


@pytest.mark.evidence
def test_the_warp_is_a_backdoor_under_the_published_augmentation() -> None:
    check_attack(WaNet, published_augmentation=True)
    published = lab("wanet", **FIELDS, published_augmentation=True)
    accuracy, success = published.rates(published.model)
    assert accuracy >= 0.95
    assert success >= 0.6
