"""Each change against a loop over images, of torchvision's or of plain slices."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bdb.datasets import transforms
from bdb.torchvision_ops import load
from bdb.training.seeds import generator

load()
from torchvision.transforms.v2 import functional  # noqa: E402

SHAPES = [(3, 32, 24), (1, 8, 8), (3, 5, 9)]


def pictures(shape: tuple[int, ...], count: int = 7) -> Tensor:
    return torch.rand(count, *shape, generator=generator(0))


def one_by_one(change: Callable[..., Any], images: Tensor, values: Tensor) -> Tensor:
    pairs = zip(images, values.tolist(), strict=True)
    return torch.stack([change(image, value) for image, value in pairs])


@pytest.mark.parametrize("shape", SHAPES)
def test_turns_are_torchvisions(shape: tuple[int, ...]) -> None:
    images = pictures(shape)
    degrees = torch.tensor([0.0, 10.0, -10.0, 45.0, 90.0, -137.5, 180.0])
    naive = one_by_one(
        lambda image, angle: functional.rotate(
            image, angle, interpolation=functional.InterpolationMode.BILINEAR
        ),
        images,
        degrees,
    )
    assert torch.allclose(transforms.rotate(images, degrees), naive, atol=1e-4)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    images = pictures((3, 8, 8), 1)
    turned = transforms.rotate(images, torch.tensor([90.0]))
    assert torch.allclose(turned, images.rot90(1, (2, 3)), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (transforms.brighten, functional.adjust_brightness),
        (transforms.contrast, functional.adjust_contrast),
        (transforms.saturate, functional.adjust_saturation),
    ],
)
def test_colours_are_torchvisions(
    shape: tuple[int, ...], ours: Callable[..., Tensor], theirs: Callable[..., Tensor]
) -> None:
    images = pictures(shape)
    factors = torch.tensor([0.0, 0.3, 0.7, 1.0, 1.3, 1.7, 2.0])
    assert torch.allclose(ours(images, factors), one_by_one(theirs, images, factors), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_turns_of_the_hue_are_torchvisions(shape: tuple[int, ...]) -> None:
    images = pictures(shape)
    images[0, :, 0] = 0.5
    turns = torch.tensor([0.0, 0.1, -0.1, 0.25, 0.5, -0.5, 0.33])
    naive = one_by_one(functional.adjust_hue, images, turns)
    assert torch.allclose(transforms.turn_hue(images, turns), naive, atol=1e-4)
    assert torch.allclose(transforms.turn_hue(images, torch.zeros(7)), images, atol=1e-5)


def test_parts_are_enlarged_as_torchvision_does() -> None:
    """But for the outermost pixels, of which it sees no neighbours outside of the part."""
    images, sides = pictures((3, 32, 24), 3), torch.tensor([[16, 12], [24, 12], [31, 20]])
    starts = torch.tensor([[3, 5], [8, 0], [1, 4]])
    naive = torch.stack(
        [
            functional.resized_crop(image, *start, *side, size=[32, 24], antialias=False)
            for image, start, side in zip(images, starts.tolist(), sides.tolist(), strict=True)
        ]
    )
    whole = torch.tensor([32, 24])
    found = transforms.enlarge(images, *(sides / whole).T, *(starts / (whole - sides)).T)
    assert torch.allclose(found[..., 1:-1, 1:-1], naive[..., 1:-1, 1:-1], atol=1e-4)


def test_the_whole_image_stays() -> None:
    images, one = pictures((3, 9, 6)), torch.ones(7)
    assert torch.allclose(transforms.enlarge(images, one, one, 0 * one, one), images, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_chosen_images_turn_grey(shape: tuple[int, ...]) -> None:
    images, chosen = pictures(shape), torch.arange(7) % 2 == 0
    grey = transforms.grayscale(images, chosen)
    naive = one_by_one(
        lambda image, is_chosen: (
            functional.rgb_to_grayscale(image, shape[0]) if is_chosen else image
        ),
        images,
        chosen,
    )
    assert torch.allclose(grey, naive, atol=1e-5)
    assert torch.equal(grey[~chosen], images[~chosen])


@pytest.mark.parametrize("side", [1, 2, 3, 40])
@pytest.mark.parametrize("shape", SHAPES)
def test_holes_are_slices(shape: tuple[int, ...], side: int) -> None:
    images, draws = pictures(shape, 60) + 0.1, generator(1)
    rows, columns = (torch.randint(size, (60,), generator=draws) for size in shape[1:])
    naive = images.clone()
    for image, row, column in zip(naive, rows.tolist(), columns.tolist(), strict=True):
        top, left = row - side // 2, column - side // 2
        image[:, max(0, top) : top + side, max(0, left) : left + side] = 0
    assert torch.equal(transforms.cut_out(images, rows, columns, side), naive)
