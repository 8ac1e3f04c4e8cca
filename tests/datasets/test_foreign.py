import pytest
import torch

from bdb.datasets import foreign
from bdb.datasets.base import DataSpec, ImageSet
from bdb.errors import DataError


def images_of(*shape: int) -> ImageSet:
    pixels = torch.randint(0, 256, (5, *shape), generator=torch.Generator().manual_seed(0))
    return ImageSet.whole(pixels.to(torch.uint8), torch.arange(5))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 16, 24), (1, 28, 28)])
def test_images_get_the_other_sets_shape(shape: tuple[int, int, int]) -> None:
    made = foreign.reshape(images_of(1, 28, 28), shape)
    assert made.images.shape == (5, *shape)
    assert made.images.dtype == torch.uint8
    assert made.labels.tolist() == [0, 1, 2, 3, 4]


def test_an_even_image_stays_even() -> None:
    pixels = torch.tensor([10, 20, 60], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 20, 20)
    made = foreign.reshape(ImageSet.whole(pixels, torch.zeros(1, dtype=torch.int64)), (1, 7, 9))
    assert made.images.unique().tolist() == [30]


def test_grey_becomes_the_same_in_every_channel() -> None:
    grey = images_of(1, 8, 8)
    made = foreign.reshape(grey, (3, 8, 8))
    assert all(torch.equal(made.images[:, channel], grey.images[:, 0]) for channel in range(3))


def test_images_of_this_shape_are_left_alone() -> None:
    own = images_of(3, 8, 8)
    assert foreign.reshape(own, (3, 8, 8)) is own


def test_no_images_have_the_shape_too() -> None:
    none = images_of(3, 8, 8)[torch.arange(0)]
    assert foreign.reshape(none, (1, 4, 4)).images.shape == (0, 1, 4, 4)


def spec(*classes: str) -> DataSpec:
    return DataSpec(dataset="it", classes=classes, shape=(1, 2, 2), mean=(0.5,), std=(0.5,))


def test_classes_go_by_their_names_and_others_are_left_out() -> None:
    labels = torch.tensor([0, 1, 2, 1, 0])
    there = ImageSet.whole(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels)
    found = foreign.relabel(there, spec("oak", "yew", "elm"), spec("elm", "oak"), "it")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.ids.tolist() == [0, 2, 4]


def test_a_class_that_is_missing_is_named() -> None:
    there = ImageSet.whole(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]))
    with pytest.raises(DataError, match=r"^it has no class 'ash' as it has; .*'oak, elm'$"):
        foreign.relabel(there, spec("oak", "elm"), spec("elm", "ash"), "it")


def test_statistics_follow_the_channels() -> None:
    data = DataSpec(
        dataset="it", classes=("a", "b"), shape=(3, 8, 8), mean=(0.1, 0.2, 0.3), std=(0.2,) * 3
    )
    grey = foreign.describe(data, (1, 4, 4))
    assert (grey.shape, grey.mean, grey.std) == ((1, 4, 4), (0.2,), (0.2,))
    assert foreign.describe(grey, (3, 8, 8)).mean == (0.2, 0.2, 0.2)
