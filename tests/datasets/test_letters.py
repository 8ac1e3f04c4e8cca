import string

import torch

from bdb.datasets.letters import Letters
from bdb.testing import letters


def test_there_are_as_many_as_declared_of_every_letter() -> None:
    drawn = letters()
    assert drawn.classes == tuple(string.ascii_uppercase)
    assert tuple(drawn.train.labels.bincount().tolist()) == Letters.class_counts
    assert len(drawn.test) == Letters.test_count
    assert drawn.train.images.shape[1:] == (3, Letters.side, Letters.side)
    assert drawn.train.images.dtype == torch.uint8


def test_every_image_shows_something_of_its_own() -> None:
    images = torch.cat([letters().train.images, letters().test.images])
    assert len(images[:, 0].flatten(1).unique(dim=0)) == len(images)
    assert bool((images.flatten(1).amax(1) > 60).all())


def test_they_are_the_same_every_time() -> None:
    again = Letters().read(None)  # type: ignore[arg-type]
    assert torch.equal(again.train.images, letters().train.images)
    assert torch.equal(again.test.images, letters().test.images)
