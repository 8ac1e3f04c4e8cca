import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from bdb.datasets.augmentation import Augmentation
from bdb.training.seeds import generator


def ramp(count: int, dtype: torch.dtype, side: int = 8) -> torch.Tensor:
    """Images whose every pixel tells its row and column."""
    rows = torch.arange(1, side + 1)[:, None] * 16 + torch.arange(1, side + 1)
    return rows.expand(count, 3, side, side).to(dtype).contiguous()


def naive_crop(images: torch.Tensor, padding: int, seed: int) -> torch.Tensor:
    offsets = torch.randint(2 * padding + 1, (2, len(images), 1), generator=generator(seed))
    side = images.shape[-1]
    cropped = []
    for image, top, left in zip(images, *offsets.flatten(1).tolist(), strict=True):
        cropped.append(pad(image, (padding,) * 4)[:, top : top + side, left : left + side])
    return torch.stack(cropped)


@given(
    count=st.integers(1, 9),
    padding=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
)
@settings(max_examples=30, deadline=None)
def test_crop_is_the_naive_loop(count: int, padding: int, seed: int, dtype: torch.dtype) -> None:
    images = ramp(count, dtype)
    cropped = Augmentation(crop_padding=padding)(images, generator(seed))
    assert cropped.dtype == dtype
    assert torch.equal(cropped, naive_crop(images, padding, seed))


def test_every_sample_has_its_own_offset() -> None:
    cropped = Augmentation(crop_padding=2)(ramp(200, torch.uint8), generator(0))
    assert len(torch.unique(cropped.flatten(1), dim=0)) == 25


def test_offsets_are_uniform_around_the_middle() -> None:
    images = torch.zeros(20_000, 1, 9, 9)
    images[:, :, 4, 4] = 1
    cropped = Augmentation(crop_padding=4)(images, generator(0))
    rows, columns = cropped.sum((1, 3)), cropped.sum((1, 2))
    for axis in (rows, columns):
        assert (axis.sum(1) == 1).all()
        place = axis.argmax(1).float()
        assert abs(place.mean() - 4) < 0.1
        assert (torch.bincount(place.long()) / 20_000 - 1 / 9).abs().max() < 0.01


def test_the_border_is_black() -> None:
    cropped = Augmentation(crop_padding=4)(
        torch.full((50, 3, 8, 8), 200, dtype=torch.uint8), generator(1)
    )
    assert set(cropped.unique().tolist()) == {0, 200}


def test_flip_mirrors_about_half() -> None:
    images = ramp(2000, torch.uint8)
    flipped = Augmentation(flip=True)(images, generator(0))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert abs(mirrored.float().mean() - 0.5) < 0.05


def test_the_same_generator_gives_the_same_images() -> None:
    images = ramp(64, torch.float32)
    augment = Augmentation(crop_padding=4, flip=True)
    one, two = (augment(images, generator(7)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, augment(images, generator(8)))


def test_uint8_and_float_are_moved_alike() -> None:
    augment = Augmentation(crop_padding=2, flip=True)
    as_bytes = augment(ramp(64, torch.uint8), generator(3))
    as_floats = augment(ramp(64, torch.float32), generator(3))
    assert torch.equal(as_bytes.float(), as_floats)


def test_nothing_declared_changes_nothing_and_draws_nothing() -> None:
    images, drawn = ramp(4, torch.uint8), generator(0)
    assert Augmentation()(images, drawn) is images
    assert torch.equal(drawn.get_state(), generator(0).get_state())


def test_channels_last_is_kept() -> None:
    images = ramp(4, torch.float32).contiguous(memory_format=torch.channels_last)
    augmented = Augmentation(crop_padding=2, flip=True)(images, generator(0))
    assert augmented.is_contiguous(memory_format=torch.channels_last)


def test_a_reflected_border_mirrors_all_but_the_edge() -> None:
    images = ramp(400, torch.uint8)
    augment = Augmentation(crop_padding=2, crop_border="reflected")
    cropped = augment(images, generator(0))
    wide = pad(images.float(), (2,) * 4, mode="reflect").to(torch.uint8)
    places = torch.randint(5, (2, 400, 1), generator=generator(0)).flatten(1)
    for image, whole, top, left in zip(cropped, wide, *places.tolist(), strict=True):
        assert torch.equal(image, whole[:, top : top + 8, left : left + 8])


def test_alternating_flip_shows_both_sides_in_turn() -> None:
    images, ids = ramp(200, torch.uint8), torch.arange(200)
    augment = Augmentation(flip=True, alternate=True)
    first, second, third = (augment(images, generator(e), ids, e) for e in range(3))
    assert torch.equal(first, third)
    assert torch.equal(first, second.flip(3))
    mirrored = (first != images).flatten(1).any(1)
    assert 70 < int(mirrored.sum()) < 130
    shuffled = torch.randperm(200, generator=generator(0))
    assert torch.equal(augment(images, generator(9), ids[shuffled], 0), first[shuffled])


RICH = Augmentation(
    crop_padding=2,
    flip=True,
    least_area=0.3,
    rotation=20,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grayscale=0.2,
    cutout=3,
)


def test_a_rich_augmentation_keeps_shape_dtype_range_and_memory() -> None:
    for images, top in ((ramp(40, torch.uint8), 255), (ramp(40, torch.float32) / 255, 1)):
        kept = images.clone()
        augmented = RICH(images, generator(0))
        assert augmented.dtype == images.dtype
        assert augmented.shape == images.shape
        assert augmented.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= float(augmented.min()) <= float(augmented.max()) <= top
        assert torch.equal(images, kept)
        assert torch.equal(augmented, RICH(images, generator(0)))
        assert not torch.equal(augmented, RICH(images, generator(1)))


def test_a_rich_augmentation_rounds_bytes() -> None:
    as_bytes = RICH(ramp(40, torch.uint8), generator(3))
    as_floats = RICH(ramp(40, torch.float32) / 255, generator(3))
    assert (as_bytes - as_floats * 255).abs().max() <= 0.501


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 9), (2, 5, 5)])
def test_a_rich_augmentation_takes_any_shape(shape: tuple[int, ...]) -> None:
    images = torch.randint(256, (6, *shape), generator=generator(0), dtype=torch.uint8)
    assert RICH(images, generator(0)).shape == images.shape
    assert RICH(images[:0], generator(0)).shape == (0, *shape)


@pytest.mark.parametrize(
    "change",
    [
        {"least_area": 0.3},
        {"rotation": 30},
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"saturation": 0.5},
        {"hue": 0.3},
        {"cutout": 2},
    ],
)
def test_every_sample_is_changed_by_draws_of_its_own(change: dict[str, float]) -> None:
    one = torch.rand(1, 3, 8, 8, generator=generator(0)) * 0.5 + 0.25
    changed = Augmentation(**change)(one.expand(50, -1, -1, -1), generator(1))
    assert len(changed.flatten(1).unique(dim=0)) >= 25


@pytest.mark.parametrize(
    ("fields", "share"),
    [
        ({"crop_padding": 4, "crop_share": 0.3}, 0.3 * 80 / 81),
        ({"rotation": 45, "rotation_share": 0.3}, 0.3),
        ({"brightness": 0.5, "contrast": 0.5, "jitter_share": 0.3}, 0.3),
        ({"hue": 0.3, "jitter_share": 0.3}, 0.3),
        ({"grayscale": 0.3}, 0.3),
    ],
)
def test_a_share_of_the_images_is_changed(fields: dict[str, float], share: float) -> None:
    images = torch.rand(4000, 3, 8, 8, generator=generator(0)) * 0.5 + 0.25
    changed = Augmentation(**fields)(images, generator(1))
    touched = ((changed - images).abs() > 1e-3).flatten(1).any(1).float().mean()
    assert float(touched) == pytest.approx(share, abs=0.03)


def test_draws_stay_within_what_is_asked_for() -> None:
    grey = torch.full((4000, 3, 4, 4), 0.5)
    factors = Augmentation(brightness=0.4)(grey, generator(0))[:, 0, 0, 0] / 0.5
    assert 0.6 <= float(factors.min()) < 0.61
    assert 1.39 < float(factors.max()) <= 1.4
    line = torch.zeros(2000, 1, 33, 33)
    line[:, :, 16] = 1
    turned = Augmentation(rotation=10)(line, generator(0))[:, 0, :, 32]
    rise = (turned * torch.arange(33)).sum(1) / turned.sum(1) - 16  # 16 * tan(10 degrees) is 2.8
    assert 2.4 < float(rise.max()) < 3.1
    assert -3.1 < float(rise.min()) < -2.4


def test_parts_have_the_area_and_the_shape_asked_for() -> None:
    """A ramp tells where a part begins and ends."""
    down = torch.linspace(0, 1, 101)[:, None].expand(101, 101)
    ramps = torch.stack([down, down.T]).expand(4000, 2, 101, 101)
    parts = Augmentation(least_area=0.3)(ramps, generator(0))
    height, width = (
        (lines.amax(1) - lines.amin(1)) for lines in (parts[:, 0, :, 50], parts[:, 1, 50])
    )
    area, ratio = height * width, height / width
    assert 0.28 < float(area.min()) < 0.32
    assert 0.97 < float(area.max()) <= 1
    assert 0.74 < float(ratio.min()) < 0.77
    assert 1.31 < float(ratio.max()) < 1.35
    assert float(area.mean()) == pytest.approx(0.65, abs=0.02)
    small = height < 0.7
    place = parts[small, 0, 0, 50] / (1 - height[small])
    assert float(place.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(place.std()) == pytest.approx(12**-0.5, abs=0.02)


def test_what_is_new_leaves_the_draws_of_crop_and_flip_alone() -> None:
    images = ramp(32, torch.uint8)
    plain, rich = (Augmentation(crop_padding=2, flip=True, cutout=side) for side in (0, 1))
    differs = (plain(images, generator(5)) != rich(images, generator(5))).any(1).flatten(1).sum(1)
    assert int(differs.max()) <= 1
