"""The reader, on three classes in the layout of the official archive."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bdb.datasets.base import Dataset
from bdb.datasets.tiny_imagenet import TinyImageNet

Paint = Callable[..., None]
Refusal = Callable[[Dataset, Path], str]
IDS = ("n03", "n01", "n02")  # as in the archive, in no order


@pytest.fixture
def top(tmp_path: Path, paint: Paint) -> Path:
    top = tmp_path / "tiny-imagenet-200"
    rows = []
    for i, each in enumerate(IDS):
        for j in range(2):
            paint(top / "train" / each / "images" / f"{each}_{j}.JPEG", 50 * i + j)
        (top / "train" / each / f"{each}_boxes.txt").touch()
        paint(top / "val" / "images" / f"val_{i}.JPEG", 50 * i + 20)
        rows.append(f"val_{i}.JPEG\t{each}\t0\t0\t62\t62")
    (top / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    (top / "wnids.txt").write_text("\n".join(IDS) + "\n")
    (top / "words.txt").write_text("n01\tcrane, bird\nn02\tgoldfish\nn03\tcrane\nn04\tother\n")
    return tmp_path


def test_classes_are_in_the_order_of_their_ids(top: Path) -> None:
    raw = TinyImageNet().read(top)
    assert raw.train.images.shape == (6, 3, 64, 64)
    assert raw.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert raw.train.images[:, 0, 5, 5].tolist() == [50, 51, 100, 101, 0, 1]
    assert raw.test.labels.tolist() == [2, 0, 1]
    assert raw.test.images[:, 0, 5, 5].tolist() == [20, 70, 120]
    assert raw.classes == ("crane n01", "goldfish", "crane n03")


@pytest.mark.parametrize(
    "name", ["wnids.txt", "words.txt", "val/val_annotations.txt", "val/images/val_1.JPEG"]
)
def test_a_missing_file_is_named(top: Path, name: str, refusal: Refusal) -> None:
    (top / "tiny-imagenet-200" / name).unlink()
    assert Path(name).name in refusal(TinyImageNet(), top)


def test_a_missing_class_is_named(top: Path, refusal: Refusal) -> None:
    folder = top / "tiny-imagenet-200" / "train" / "n02"
    folder.rename(top / "elsewhere")
    assert "n02/images cannot be read (it holds no .JPEG file)" in refusal(TinyImageNet(), top)


def test_a_damaged_image_is_named(top: Path, refusal: Refusal) -> None:
    path = top / "tiny-imagenet-200" / "train" / "n01" / "images" / "n01_1.JPEG"
    path.write_bytes(path.read_bytes()[:200])
    assert "n01_1.JPEG" in refusal(TinyImageNet(), top)


@pytest.mark.parametrize("row", ["val_0.JPEG", "val_0.JPEG\tn09\t0", "\x00"])
def test_an_annotation_of_another_form_is_named(top: Path, row: str, refusal: Refusal) -> None:
    (top / "tiny-imagenet-200" / "val" / "val_annotations.txt").write_text(f"{row}\n")
    assert "val_annotations.txt has [" in refusal(TinyImageNet(), top)


@pytest.mark.usefixtures("no_network")
def test_missing_without_a_network_says_what_to_do(tmp_path: Path, refusal: Refusal) -> None:
    said = refusal(TinyImageNet(), tmp_path / "empty")
    assert "put tiny-imagenet-200 there or set BDB_DATA" in said
