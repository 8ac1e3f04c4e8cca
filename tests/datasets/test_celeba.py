"""The reader, on ten faces in the layout of the official files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bdb.datasets.base import Dataset
from bdb.datasets.celeba import CelebA
from bdb.errors import DataError
from bdb.stages import prepare

Paint = Callable[..., None]
Refusal = Callable[[Dataset, Path], str]
NAMES = ["Heavy_Makeup", "Male", "Mouth_Slightly_Open", "Smiling"]
ATTRIBUTES, PARTS = "list_attr_celeba.txt", "list_eval_partition.txt"


def face(i: int) -> str:
    return f"{i + 1:06}.jpg"


@pytest.fixture
def top(tmp_path: Path, paint: Paint) -> Path:
    """Face i is of class i % 8; the first eight train, then one validates and one tests."""
    folder = tmp_path / "celeba"
    rows, parts = [], []
    for i in range(10):
        paint(folder / "img_align_celeba" / face(i), 20 * i, (89, 109))
        makeup, smiling, mouth = (1 if i % 8 >> bit & 1 else -1 for bit in (2, 1, 0))
        rows.append(f"{face(i)}  {makeup:2} -1 {mouth:2} {smiling:2}")
        parts.append(f"{face(i)} {max(0, i - 7)}")
    (folder / ATTRIBUTES).write_text("\n".join(["10", " ".join(NAMES), *rows]) + "\n")
    (folder / PARTS).write_text("\n".join(parts) + "\n")
    return tmp_path


def test_three_attributes_make_eight_classes(top: Path) -> None:
    raw = CelebA().read(top)
    assert raw.train.images.shape == (8, 3, 64, 64)
    assert raw.train.labels.tolist() == list(range(8))
    assert raw.train.images[:, 0, 5, 5].tolist() == [20 * i for i in range(8)]
    assert raw.test.labels.tolist() == [1]
    assert raw.test.images[:, 0, 5, 5].tolist() == [180]
    assert raw.classes[0] == "no heavy makeup, no smiling, no mouth slightly open"
    assert raw.classes[6] == "heavy makeup, smiling, no mouth slightly open"
    assert len(set(raw.classes)) == 8


@pytest.mark.parametrize("name", [ATTRIBUTES, PARTS, f"img_align_celeba/{face(3)}"])
def test_a_missing_file_is_named(top: Path, name: str, refusal: Refusal) -> None:
    (top / "celeba" / name).unlink()
    assert Path(name).name in refusal(CelebA(), top)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (ATTRIBUTES, "", "has no attribute Heavy_Makeup"),
        (ATTRIBUTES, "1\nSmiling Heavy_Makeup\n", "has no attribute Mouth_Slightly_Open"),
        (ATTRIBUTES, f"1\n{' '.join(NAMES)}\n000001.jpg 1\n", "not as many values"),
        (ATTRIBUTES, f"1\n{' '.join(NAMES)}\n", "no attributes of 000001.jpg"),
        (PARTS, "000001.jpg 3\n", "not an image and 0, 1 or 2"),
        (PARTS, "000001.jpg\n", "not an image and 0, 1 or 2"),
    ],
)
def test_a_damaged_list_is_named(
    top: Path, name: str, text: str, said: str, refusal: Refusal
) -> None:
    (top / "celeba" / name).write_text(text)
    message = refusal(CelebA(), top)
    assert said in message
    assert name in message


def test_another_number_of_faces_is_refused(top: Path) -> None:
    raw = CelebA().read(top)
    with pytest.raises(DataError, match="celeba: 8 training images, not 162770 as published"):
        prepare._check("celeba", raw, CelebA())
    many = replace(raw.train, labels=torch.zeros(162_770, dtype=torch.int64))
    with pytest.raises(DataError, match="celeba: 1 test images, not 19962 as published"):
        prepare._check("celeba", replace(raw, train=many), CelebA())


@pytest.mark.usefixtures("no_network")
def test_missing_without_a_network_says_what_to_do(tmp_path: Path, refusal: Refusal) -> None:
    assert "put celeba there or set BDB_DATA" in refusal(CelebA(), tmp_path / "empty")
