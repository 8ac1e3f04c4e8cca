"""The reader, on a few images in the format of the official files, under sums of their own."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from bdb.datasets.base import Dataset
from bdb.datasets.svhn import Svhn
from bdb.torchvision_ops import load

Refusal = Callable[[Dataset, Path], str]


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "svhn"
    folder.mkdir()
    sums = {}
    for part, count in (("train", 12), ("test", 3)):
        path = folder / f"{part}_32x32.mat"
        labels = np.arange(1, count + 1)[:, None] % 10
        labels[labels == 0] = 10  # which stands for the digit 0
        savemat(path, {"X": pixels(count).transpose(2, 3, 1, 0), "y": labels.astype(np.uint8)})
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        sums[part] = ["http://127.0.0.1:9", path.name, md5]
    monkeypatch.setattr(load().datasets.SVHN, "split_list", sums)
    return tmp_path


def test_images_keep_their_channels_and_ten_is_nought(top: Path) -> None:
    raw = Svhn().read(top)
    assert torch.equal(raw.train.images, torch.from_numpy(pixels(12)))
    assert raw.train.labels.tolist() == [*range(1, 10), 0, 1, 2]
    assert raw.train.labels.dtype == torch.int64
    assert raw.test.labels.tolist() == [1, 2, 3]
    assert sum(Svhn.class_counts) == 73_257


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("spoil", "said"), [(Path.unlink, "missing"), (lambda path: path.write_bytes(b"x"), "damaged")]
)
def test_a_missing_or_damaged_file_is_named(
    top: Path, part: str, spoil: Callable[[Path], object], said: str, refusal: Refusal
) -> None:
    spoil(top / "svhn" / f"{part}_32x32.mat")
    assert f"{part}_32x32.mat is {said}" in refusal(Svhn(), top)


@pytest.mark.usefixtures("no_network")
def test_missing_without_a_network_says_what_to_do(top: Path, refusal: Refusal) -> None:
    assert "put svhn there or set BDB_DATA" in refusal(Svhn(), top / "empty")
