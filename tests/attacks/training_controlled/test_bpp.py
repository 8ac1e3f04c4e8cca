import pytest
import torch
from torch import Tensor

from bdb.attacks.training_controlled.bpp import Bpp, dither
from bdb.metrics import quality
from bdb.testing import Lab, check_attack, lab, make_context
from bdb.training import inference


def victim() -> Lab:
    return lab("bpp")


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def one_by_one(values: Tensor, top: int) -> Tensor:
    """Floyd and Steinberg's algorithm, pixel by pixel."""
    values = values.clone()
    height, width = values.shape[2:]
    spread = ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1))
    for y in range(height):
        for x in range(width):
            wanted = values[..., y, x].clone()
            values[..., y, x] = wanted.round().clamp(0, top)
            error = wanted - values[..., y, x]
            for down, right, share in spread:
                if y + down < height and 0 <= x + right < width:
                    values[..., y + down, x + right] += share / 16 * error
    return values


def test_quantised_images_are_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.85


def test_the_trigger_is_hard_to_see() -> None:
    triggered = victim().poison.test
    clean = victim().test.images[triggered.ids]
    assert float(quality.psnr(clean, triggered.images).min()) >= 28


def test_the_rounding_of_another_image_does_not_reach_the_target() -> None:
    plan, train = victim().poison.plan, victim().train_set
    negative = train[torch.isin(train.ids, plan.ids[plan.is_cross])]
    assert inference.accuracy(victim().model, negative.images, negative.labels) > 0.95


def test_negative_samples_are_not_poison() -> None:
    context, _ = make_context()
    plan = victim().poison.plan
    true = context.samples(plan.ids)
    assert int(plan.is_cross.sum()) == pytest.approx(int(plan.is_poison.sum()), rel=0.1)
    assert torch.equal(plan.labels[plan.is_cross], true.labels[plan.is_cross])
    own = Bpp().quantise(true.images)
    same = (own == victim().poison.images).flatten(1).all(1)
    assert torch.equal(same, plan.is_poison)


@pytest.mark.parametrize("levels", [2, 3, 8, 128])
@pytest.mark.parametrize("dithering", [False, True])
def test_so_many_levels_are_left(levels: int, dithering: bool) -> None:
    attack = Bpp(levels=levels, dithering=dithering)
    quantised = attack.quantise(noise(4, 3, 32, 32))
    assert len(quantised.unique()) == levels
    assert dithering or torch.equal(attack.quantise(quantised), quantised), "it stays so"
    assert quantised.unique()[[0, -1]].tolist() == [0, 255]


def test_a_negative_carries_what_quantising_changes_elsewhere() -> None:
    images, others = torch.full((1, 1, 4, 4), 100, dtype=torch.uint8), noise(1, 1, 4, 4)
    attack = Bpp(levels=3)
    change = attack.disturb(images, others).int() - 100
    assert torch.equal(change, attack.quantise(others).int() - others.int())
    bright = torch.full((1, 1, 1, 1), 250, dtype=torch.uint8)
    assert attack.disturb(bright, bright - 50).tolist() == [[[[255]]]], "nothing wraps"


@pytest.mark.parametrize("shape", [(2, 3, 5, 9), (2, 1, 9, 4), (1, 1, 1, 1), (3, 3, 8, 1)])
def test_dithering_is_that_of_floyd_and_steinberg(shape: tuple[int, ...]) -> None:
    values = noise(*shape) / 85
    assert torch.equal(dither(values, 3), one_by_one(values, 3))


def test_dithering_keeps_the_mean() -> None:
    gray = torch.full((1, 1, 32, 32), 50, dtype=torch.uint8)
    plain, dithered = (Bpp(levels=2, dithering=on).quantise(gray) for on in (False, True))
    assert plain.unique().tolist() == [0]
    assert float(dithered.float().mean()) == pytest.approx(50, abs=5)


def test_the_contract_holds_under_dithering() -> None:
    check_attack(Bpp, dithering=True)
