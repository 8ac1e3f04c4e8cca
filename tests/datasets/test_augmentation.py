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
