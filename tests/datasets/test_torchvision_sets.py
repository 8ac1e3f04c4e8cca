"""The readers, on small stores that the tests write, and on the real files where they are."""

import hashlib
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bdb.datasets.base import Dataset
from bdb.datasets.cifar10 import Cifar10
from bdb.datasets.cifar100 import Cifar100
from bdb.datasets.gtsrb import Gtsrb
from bdb.errors import DataError
from bdb.torchvision_ops import load


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def refusal(dataset: Dataset, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        dataset.read(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dump(path: Path, content: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return md5(path)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3072), dtype=np.uint8)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images in CIFAR-10's format, under sums of their own; no network."""
    reader = load().datasets.CIFAR10
    folder = tmp_path / reader.base_folder
    train = dump(folder / "data_batch_1", {"data": pixels(4), "labels": [1, 0, 1, 0]})
    test = dump(folder / "test_batch", {"data": pixels(2), "labels": [0, 1]})
    meta = dump(folder / "batches.meta", {"label_names": ["plane", "car"]})
    monkeypatch.setattr(reader, "train_list", [["data_batch_1", train]])
    monkeypatch.setattr(reader, "test_list", [["test_batch", test]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": meta})
    monkeypatch.setattr(reader, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    return tmp_path


def test_cifar10_images_keep_their_channels(cifar: Path) -> None:
    raw = Cifar10().read(cifar)
    assert raw.classes == ("plane", "car")
    assert raw.train.labels.tolist() == [1, 0, 1, 0]
    assert raw.train.images.dtype == torch.uint8
    expected = torch.from_numpy(pixels(4)).view(4, 3, 32, 32)
    assert torch.equal(raw.train.images, expected)
    assert len(raw.test) == 2


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"\x80other")])
def test_cifar_files_missing_or_damaged_are_named(
    cifar: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    spoil(cifar / "cifar-10-batches-py" / name)
    assert name in refusal(Cifar10(), cifar)


def test_cifar_missing_without_a_network_says_what_to_do(cifar: Path) -> None:
    empty = cifar / "empty"
    message = refusal(Cifar10(), empty)
    assert f"CIFAR-10 is not below {empty}" in message
    assert "put cifar-10-batches-py there or set BDB_DATA" in message
    assert list(empty.iterdir()) == []


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_cifar_is_downloaded_whole_or_not_at_all(
    cifar: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = load().datasets.CIFAR10
    archive = cifar / reader.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar / reader.base_folder, reader.base_folder)
    monkeypatch.setattr(reader, "url", f"{served}/{archive.name}")
    other = cifar / "other"
    assert "could not be downloaded" in refusal(Cifar10(), other)  # the archive's sum is wrong
    assert list(other.iterdir()) == []
    monkeypatch.setattr(reader, "tgz_md5", md5(archive))
    assert len(Cifar10().read(other).train) == 4
    assert [path.name for path in other.iterdir()] == [reader.base_folder]


def test_cifar100_reads_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = load().datasets.CIFAR100
    folder = tmp_path / reader.base_folder
    content = {"data": pixels(3), "fine_labels": [2, 0, 1], "coarse_labels": [0, 0, 0]}
    both = dump(folder / "train", content)
    dump(folder / "test", content)
    meta = dump(folder / "meta", {"fine_label_names": ["apple", "bear", "clock"]})
    monkeypatch.setattr(reader, "train_list", [["train", both]])
    monkeypatch.setattr(reader, "test_list", [["test", both]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": meta})
    raw = Cifar100().read(tmp_path)
    assert raw.train.labels.tolist() == [2, 0, 1]
    assert raw.classes == ("apple", "bear", "clock")


@pytest.fixture
def signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One sign of each class in each split, in GTSRB's layout; no network."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network\nat all")

    monkeypatch.setattr("torchvision.datasets.gtsrb.download_and_extract_archive", fail)
    base = tmp_path / "gtsrb"
    rows = ["Filename;Width;Roi.X1;ClassId"]
    for label in range(43):
        sign(base / "GTSRB" / "Training" / f"{label:05}" / "a.ppm", label)
        sign(base / "GTSRB" / "Final_Test" / "Images" / f"{label}.ppm", 100 + label)
        rows.insert(1, f"{label}.ppm;40;1;{label}")
    (base / "GT-final_test.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def sign(path: Path, color: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (47, 25), (color, 0, 255)).save(path)


def test_gtsrb_is_read_and_resized(signs: Path) -> None:
    raw = Gtsrb().read(signs)
    assert raw.train.labels.tolist() == list(range(43))
    assert raw.test.labels.tolist() == list(range(43))[::-1]
    assert raw.train.images.shape == (43, 3, 32, 32)
    assert raw.train.images[:, :, 16, 16].tolist() == [[c, 0, 255] for c in range(43)]
    assert torch.equal(raw.test.images[:, 0, 0, 0], raw.test.labels + 100)
    assert len(raw.classes) == len(set(raw.classes)) == len(Gtsrb.class_counts) == 43
    assert raw.classes[14] == "stop"


def test_a_damaged_sign_is_named(signs: Path) -> None:
    path = signs / "gtsrb" / "GTSRB" / "Training" / "00007" / "a.ppm"
    path.write_bytes(path.read_bytes()[:50])
    assert os.path.join("00007", "a.ppm") in refusal(Gtsrb(), signs)


def test_a_missing_test_sign_is_named(signs: Path) -> None:
    (signs / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / "1.ppm").unlink()
    assert os.path.join("Images", "1.ppm") in refusal(Gtsrb(), signs)


def test_a_missing_class_is_noticed(signs: Path) -> None:
    shutil.rmtree(signs / "gtsrb" / "GTSRB" / "Training" / "00011")
    assert "labels of the train split" in refusal(Gtsrb(), signs)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, "GT-final_test.csv"),
        ("Filename;ClassId\n0.ppm;43\n", "0 to 42"),
        ("Filename;ClassId\n0.ppm;x\n", "incomplete"),
        ("Filename\n0.ppm\n", "incomplete"),
        ("", "0 to 42"),
    ],
)
def test_labels_missing_or_damaged_are_refused(signs: Path, rows: str | None, said: str) -> None:
    path = signs / "gtsrb" / "GT-final_test.csv"
    path.unlink() if rows is None else path.write_text(rows)
    assert said in refusal(Gtsrb(), signs)


def test_gtsrb_missing_without_a_network_says_what_to_do(signs: Path) -> None:
    message = refusal(Gtsrb(), signs / "empty")
    assert "GTSRB is not below" in message
    assert "(no network)" in message
    assert "put gtsrb there or set BDB_DATA" in message


def roots() -> Iterator[Path]:
    yield from (Path(place) for place in (os.environ.get("BDB_DATA"), "data/raw") if place)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        (Cifar10(), "cifar-10-batches-py"),
        (Cifar100(), "cifar-100-python"),
        (Gtsrb(), "gtsrb"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_real_set_is_what_it_declares(dataset: Dataset, folder: str) -> None:
    root = next((root for root in roots() if (root / folder).is_dir()), None)
    if root is None:
        pytest.skip(f"{folder} is neither below $BDB_DATA nor below data/raw")
    raw = dataset.read(root)
    assert tuple(torch.bincount(raw.train.labels).tolist()) == dataset.class_counts
    assert len(raw.test) == dataset.test_count
    assert raw.train.images.shape[1:] == raw.test.images.shape[1:] == (3, 32, 32)
    assert dataset.mean is not None
    assert dataset.std is not None
    if dataset.std != (1.0, 1.0, 1.0):  # GTSRB is published without normalisation
        measured = raw.train.images[:10_000].float().div(255).mean((0, 2, 3))
        assert torch.allclose(measured, torch.tensor(dataset.mean), atol=5e-3)
