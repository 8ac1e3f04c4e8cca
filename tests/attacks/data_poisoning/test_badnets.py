import pytest
import torch

from bdb.attacks.data_poisoning.badnets import BadNets


def stamped(attack: BadNets, shape: tuple[int, int, int]) -> torch.Tensor:
    ids = torch.arange(2)
    images = torch.full((2, *shape), 100, dtype=torch.uint8)
    return attack.stamp(images, {}, role="test", ids=ids, targets=ids)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 8, 8), (3, 20, 40)])
def test_the_square_is_white_and_where_it_should_be(shape: tuple[int, int, int]) -> None:
    found = stamped(BadNets(margin=2), shape)
    _, height, width = shape
    square = found[:, :, height - 5 : height - 2, width - 5 : width - 2]
    assert bool((square == 255).all())
    assert int((found != 100).sum()) == 2 * shape[0] * 9


def test_a_square_may_fill_the_image() -> None:
    assert bool((stamped(BadNets(patch_size=8), (1, 8, 8)) == 255).all())


def test_a_checker_has_black_corners_beside_white() -> None:
    square = stamped(BadNets(pattern="checker"), (1, 8, 8))[0, 0, 5:, 5:]
    assert square.tolist() == [[255, 0, 255], [0, 255, 0], [255, 0, 255]]
