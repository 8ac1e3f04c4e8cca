"""The reader, on two images a class in the layout of the official archives."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bdb.datasets.base import Dataset
from bdb.datasets.imagenette import _CLASSES, Imagenette
from bdb.torchvision_ops import load

Paint = Callable[..., None]
Refusal = Callable[[Dataset, Path], str]


@pytest.fixture
def archive(paint: Paint) -> Callable[..., Path]:
    """Writes one of the two archives."""

    def write(root: Path, side: int, shade: int = 0) -> Path:
        top = root / f"imagenette2-{side}"
        for i, each in enumerate(_CLASSES):
            for j in range(2):
                paint(top / "train" / each / f"{each}_{j}.JPEG", 10 * i + j + shade, (90, 60))
            paint(top / "val" / each / f"{each}_9.JPEG", 200)
        return root

    return write


def test_images_are_resized_to_the_size_asked_for(
    tmp_path: Path, archive: Callable[..., Path]
) -> None:
    raw = Imagenette(size=48).read(archive(tmp_path, 160))
    assert raw.train.images.shape == (20, 3, 48, 48)
    assert raw.train.labels.tolist() == sorted([*range(10)] * 2)
    assert raw.train.images[::2, 0, 5, 5].tolist() == [10 * i for i in range(10)]
    assert raw.test.labels.tolist() == list(range(10))
    assert raw.classes[6] == "garbage truck"


def test_large_images_come_from_the_larger_archive(
    tmp_path: Path, archive: Callable[..., Path]
) -> None:
    archive(archive(tmp_path, 160), 320, shade=5)
    assert int(Imagenette(size=161).read(tmp_path).train.images[0, 0, 0, 0]) == 5


def test_classes_and_counts_are_those_of_the_official_set() -> None:
    reader = load().datasets.Imagenette
    assert {each: name[0] for each, name in reader._WNID_TO_CLASS.items()} == _CLASSES
    assert list(_CLASSES) == sorted(_CLASSES)
    assert sum(Imagenette.class_counts) == 9469


def test_a_missing_class_and_a_damaged_image_are_named(
    tmp_path: Path, archive: Callable[..., Path], refusal: Refusal
) -> None:
    top = archive(tmp_path, 160) / "imagenette2-160"
    (top / "val" / "n03394916" / "n03394916_9.JPEG").write_bytes(b"no image")
    assert "n03394916_9.JPEG" in refusal(Imagenette(), tmp_path)
    (top / "train" / "n03417042").rename(tmp_path / "elsewhere")
    assert "n03417042 cannot be read (it holds no .JPEG file)" in refusal(Imagenette(), tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("size", "side"), [(64, 160), (224, 320)])
def test_missing_without_a_network_says_what_to_do(
    tmp_path: Path, size: int, side: int, refusal: Refusal
) -> None:
    said = refusal(Imagenette(size=size), tmp_path / "empty")
    assert f"put imagenette2-{side} there or set BDB_DATA" in said
