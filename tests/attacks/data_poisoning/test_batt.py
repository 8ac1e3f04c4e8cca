import torch
from torch import Tensor

from bdb.attacks.data_poisoning.batt import Batt
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.transforms import rotate
from bdb.testing import Lab, digits, lab
from bdb.training import inference
from bdb.training.loop import to_bytes, to_float

ANGLE = Batt().angle


def victim() -> Lab:
    return lab("batt")


def turned(images: Tensor, degrees: float) -> Tensor:
    """As uint8, as a photograph of a photograph would be."""
    return to_bytes(rotate(to_float(images), torch.full((len(images),), degrees)))


def to_the_target(images: Tensor) -> float:
    return inference.accuracy(victim().model, images, victim().poison.test.targets)


def test_a_rotation_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    assert accuracy >= 0.96
    assert success >= 0.85


def test_the_backdoor_survives_a_round_trip() -> None:
    """Turned back, the triggered images are themselves again; turned once more, the target's."""
    triggered = victim().poison.test
    back = turned(triggered.images, -ANGLE)
    assert inference.accuracy(victim().model, back, triggered.labels) >= 0.7
    assert to_the_target(turned(back, ANGLE)) >= 0.85


def test_smaller_turns_are_harmless() -> None:
    test = victim().test.of(victim().poison.test.ids)
    for degrees in (-8.0, 8.0):
        images = turned(test.images, degrees)
        assert to_the_target(images) < 0.1
        assert inference.accuracy(victim().model, images, test.labels) >= 0.9


def test_training_turns_every_image_unless_it_is_told_not_to() -> None:
    default = Augmentation(flip=True)
    assert Batt().augmentation(default) == default.model_copy(update={"rotation": 10.0})
    assert Batt(clean_rotation=0).augmentation(default) == default
    assert not Batt(clean_rotation=0).departs


def test_nothing_is_added_to_an_image() -> None:
    images = digits().test.images[:8]
    ids = torch.arange(8)
    found = Batt().stamp(images, {}, role="test", ids=ids, targets=ids)
    assert torch.equal(found, turned(images, 16))
    assert int(found.max()) <= int(images.max())
