from pathlib import Path

import torch

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.digits import Digits


def test_digits_are_what_they_declare() -> None:
    raw = Digits().read(Path("nowhere"))
    assert tuple(torch.bincount(raw.train.labels).tolist()) == Digits.class_counts
    assert len(raw.test) == Digits.test_count
    assert raw.classes == tuple("0123456789")
    for split in (raw.train, raw.test):
        assert split.images.shape == (len(split), 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == split.ids.dtype == torch.int64
        assert torch.equal(split.ids, torch.arange(len(split)))
        assert int(split.images.max()) == 255


def test_splits_share_no_image_and_are_the_same_every_time() -> None:
    raw, again = (Digits().read(Path("nowhere")) for _ in range(2))
    train = {image.numpy().tobytes() for image in raw.train.images}
    assert not any(image.numpy().tobytes() in train for image in raw.test.images)
    assert torch.equal(raw.test.images, again.test.images)
    assert torch.equal(raw.train.labels, again.train.labels)


def test_every_class_is_tested_alike() -> None:
    raw = Digits().read(Path("nowhere"))
    tested = torch.bincount(raw.test.labels) / (
        torch.bincount(raw.test.labels) + torch.bincount(raw.train.labels)
    )
    assert (tested - 0.2).abs().max() < 0.01


def test_digits_are_not_augmented_unless_asked() -> None:
    assert Digits().augmentation == Augmentation()
    assert Digits(crop_padding=2, flip=True).augmentation.crop_padding == 2
