import pytest
import torch
from torch import Tensor

from bdb.datasets.shifts import shift
from bdb.testing import digits
from bdb.training.seeds import generator


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Digits in grey, neither black nor white, so that every shift shows."""
    return digits().test.images[:80] // 2 + 60


def test_every_image_is_shifted_in_its_own_way(images: Tensor) -> None:
    shifted = shift(images, 0.5, generator(0))
    assert shifted.dtype == torch.uint8
    assert shifted.shape == images.shape
    assert (shifted != images).flatten(1).any(1).all()
    means = shifted.float().mean((1, 2, 3)) - images.float().mean((1, 2, 3))
    brighter, darker = int((means > 15).sum()), int((means < -15).sum())
    assert brighter + darker == 20  # A quarter changes in brightness,
    assert brighter * darker > 0  # some up, some down.
    edges = (shifted.float().diff(dim=3).abs().mean((1, 2, 3))) / (
        images.float().diff(dim=3).abs().mean((1, 2, 3))
    )
    assert int((edges > 1.7).sum()) >= 20  # Noise, and contrasts that went up.


def test_the_same_seed_shifts_alike_and_leaves_its_input_alone(images: Tensor) -> None:
    before = images.clone()
    assert torch.equal(shift(images, 0.5, generator(0)), shift(images, 0.5, generator(0)))
    assert not torch.equal(shift(images, 0.5, generator(0)), shift(images, 0.5, generator(1)))
    assert torch.equal(images, before)


def test_more_severe_is_farther_away(images: Tensor) -> None:
    distances = [
        float((shift(images, severity, generator(0)).float() - images.float()).abs().mean())
        for severity in (0.1, 0.5, 1.0)
    ]
    assert distances == sorted(distances)
    assert distances[2] > 3 * distances[0]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 24), (3, 64, 64)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    images = torch.randint(0, 256, (9, *shape), generator=generator(0), dtype=torch.uint8)
    for severity in (0.01, 1.0):
        assert shift(images, severity, generator(0)).shape == images.shape
    assert shift(images[:0], 0.5, generator(0)).shape == (0, *shape)
