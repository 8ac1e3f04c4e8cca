"""The reader, on a few images in the format of the official files."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bdb.datasets.base import Dataset
from bdb.datasets.mnist import Mnist

Refusal = Callable[[Dataset, Path], str]


def idx(path: Path, values: np.ndarray) -> None:
    """An idx file of bytes: a magic number, the sizes, the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes())


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    raw = tmp_path / "MNIST" / "raw"
    for part, count in (("train", 12), ("t10k", 3)):
        idx(raw / f"{part}-images-idx3-ubyte", pixels(count))
        idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return tmp_path


def test_images_have_one_channel(top: Path) -> None:
    raw = Mnist().read(top)
    assert raw.train.images.shape == (12, 1, 28, 28)
    assert raw.train.images.dtype == torch.uint8
    assert torch.equal(raw.train.images[:, 0], torch.from_numpy(pixels(12)).byte())
    assert raw.train.labels.tolist() == [*range(10), 0, 1]
    assert len(raw.test) == 3
    assert raw.classes[7] == "7"
    assert sum(Mnist.class_counts) == 60_000


@pytest.mark.parametrize("part", ["train", "t10k"])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("content", [None, b"", b"\0\0\x08\x01other", b"<html>not found</html>"])
def test_a_missing_or_damaged_file_is_one_line(
    top: Path, part: str, kind: str, content: bytes | None, refusal: Refusal
) -> None:
    path = top / "MNIST" / "raw" / f"{part}-{kind}-ubyte"
    if content is None:
        path.unlink()
        assert f"{path} is missing" in refusal(Mnist(), top)
    else:
        path.write_bytes(content)
        split = "train" if part == "train" else "test"
        assert f"the {split} split is damaged" in refusal(Mnist(), top)


def test_labels_that_are_no_digits_are_refused(top: Path, refusal: Refusal) -> None:
    idx(top / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.arange(12))
    assert "labels of the train split are not 0 to 9" in refusal(Mnist(), top)


def test_fewer_labels_than_images_are_refused(top: Path, refusal: Refusal) -> None:
    idx(top / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.arange(4))
    assert "12 images, but 4 labels" in refusal(Mnist(), top)


@pytest.mark.usefixtures("no_network")
def test_missing_without_a_network_says_what_to_do(tmp_path: Path, refusal: Refusal) -> None:
    assert "put MNIST there or set BDB_DATA" in refusal(Mnist(), tmp_path / "empty")
