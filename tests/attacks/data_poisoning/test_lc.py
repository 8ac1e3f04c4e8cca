import pytest
import torch
import yaml

from bdb import presets
from bdb.attacks.data_poisoning.lc import LabelConsistent
from bdb.attacks.surrogates import Surrogate
from bdb.testing import Lab, lab, make_context, surrogate
from bdb.training import inference

FIELDS = yaml.safe_load(presets.text("digits"))["attacks"]["lc"]


def victim() -> Lab:
    return lab("lc", 0.08, **FIELDS)


def test_a_patch_on_hard_images_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.9


def test_every_label_stays_and_only_the_target_class_is_poisoned() -> None:
    context, _ = make_context()
    plan = victim().poison.plan
    assert torch.equal(plan.labels, context.samples(plan.ids).labels)
    assert set(plan.labels.tolist()) == {victim().attack.target}


def test_poisons_stay_within_eps_outside_the_patches_and_are_hard() -> None:
    context, _ = make_context()
    attack, plan = victim().attack, victim().poison.plan
    assert isinstance(attack, LabelConsistent)
    clean = context.samples(plan.ids).images
    change = victim().poison.images.int() - clean.int()
    outside = attack.pattern(32, 32) == 0
    assert 0 < int(change[:, :, outside].abs().max()) <= attack.eps
    model = surrogate(attack.surrogates["robust"])
    shown = torch.where(outside, victim().poison.images, clean)
    assert inference.accuracy(model, shown, plan.labels) < 0.8


def test_at_test_time_images_carry_the_patches_alone() -> None:
    attack, triggered = victim().attack, victim().poison.test
    assert isinstance(attack, LabelConsistent)
    clean = victim().test[triggered.ids].images
    outside = attack.pattern(32, 32) == 0
    assert torch.equal(triggered.images[:, :, outside], clean[:, :, outside])


def test_the_surrogate_is_trained_adversarially() -> None:
    assert LabelConsistent.surrogates == {"robust": Surrogate(eps=8, steps=7)}


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_four_patches_survive_a_mirroring(side: int) -> None:
    pattern = LabelConsistent(patch_size=side).pattern(20, 30)
    assert torch.equal(pattern, pattern.flip(1))
    assert torch.equal(pattern, pattern.flip(0))
    assert int((pattern != 0).sum()) == 4 * side**2
    one = LabelConsistent(patch_size=side, corners=1).pattern(20, 30)
    assert torch.equal(one[-side:, -side:], pattern[-side:, -side:])
    assert int((one != 0).sum()) == side**2


def test_dark_and_bright_pixels_do_not_wrap() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    ids = torch.arange(2)
    dark, bright = LabelConsistent().stamp(images, {}, role="test", ids=ids, targets=ids)
    signs = LabelConsistent().pattern(8, 8)
    assert torch.equal(dark[0] == 255, signs == 1)
    assert torch.equal(bright[0] == 0, signs == -1)


def test_the_patch_may_be_fainter_in_poisons() -> None:
    attack = LabelConsistent(amplitude=16, amplitude_test=255)
    gray = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)
    ids = torch.arange(1)
    poison, test = (
        attack.stamp(gray, {}, role=role, ids=ids, targets=ids)  # type: ignore[arg-type]
        for role in ("poison", "test")
    )
    assert set(poison.unique().tolist()) == {112, 128, 144}
    assert set(test.unique().tolist()) == {0, 128, 255}
