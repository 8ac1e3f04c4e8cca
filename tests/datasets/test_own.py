"""The same images as a folder, a CSV, Parquet and .npz: read alike, refused by name, streamed."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from bdb.datasets.base import Dataset, RawData
from bdb.datasets.csv_table import CsvTable
from bdb.datasets.folder import Folder
from bdb.datasets.npz import Npz
from bdb.datasets.parquet import Parquet
from bdb.errors import DataError
from bdb.jobs import raw as stamps
from bdb.testing import digits

CLASSES = ("0", "4", "9")


class Images:
    """Thirty digits of three classes in order, as arrays, and as every reader's files."""

    def __init__(self, top: Path) -> None:
        raw = digits().train
        chosen = [torch.nonzero(raw.labels == int(name)).flatten()[:10] for name in CLASSES]
        self.arrays = raw.images[torch.cat(chosen)].permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = [name for name in CLASSES for _ in range(10)]
        self.top = top

    def png(self, row: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.arrays[row]).save(buffer, "PNG")
        return buffer.getvalue()

    def folder(self, where: Path) -> Path:
        for row, label in enumerate(self.labels):
            path = where / label / f"{row:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.png(row))
        return where

    def csv(self) -> Dataset:
        self.folder(self.top / "csv")
        rows = [f"{label}/{row:02}.png,{label}" for row, label in enumerate(self.labels)]
        (self.top / "csv" / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
        return CsvTable.make()

    def parquet(self, **extra: Any) -> Dataset:
        images = [{"bytes": self.png(row), "path": None} for row in range(30)]
        self.write(images, [CLASSES.index(label) for label in self.labels], **extra)
        return Parquet.make(path="train.parquet")

    def write(self, images: list[Any], labels: list[Any], name: str = "train.parquet") -> None:
        features = {"image": {"_type": "Image"}, "label": {"names": CLASSES}}
        kept = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table({"image": images, "label": labels}).replace_schema_metadata(kept)
        pq.write_table(table, self.top / name)

    def npz(self, **arrays: Any) -> Dataset:
        ours = {"images": self.arrays, "labels": [int(label) for label in self.labels]}
        np.savez_compressed(self.top / "images.npz", **(ours | arrays))
        return Npz.make()


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path)


def same(one: RawData, two: RawData) -> bool:
    pairs = [(one.train, two.train), (one.test, two.test)]
    return one.classes == two.classes and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_the_same_images_give_the_same_set_whatever_holds_them(images: Images, kind: str) -> None:
    images.folder(images.top / "folder")
    expected = Folder.make().read(images.top)
    assert (len(expected.train), len(expected.test)) == (24, 6)
    assert same(getattr(images, kind)().read(images.top), expected)


def test_images_are_resized(images: Images) -> None:
    images.npz()
    resized = Npz.make(size=16).read(images.top).train.images
    assert resized.shape == (24, 3, 16, 16)


def test_parquet_of_train_and_test_as_hugging_face_lays_them_out(images: Images) -> None:
    (images.top / "set" / "data").mkdir(parents=True)
    rows = [{"bytes": images.png(row), "path": f"{row}.png"} for row in range(30)]
    for name, part in (("train-00000-of-00002", 0), ("train-00001-of-00002", 1), ("test-0", 2)):
        images.write(rows[part::3], [0, 1, 2, 0, 1, 2, 0, 1, 2, 2], f"set/data/{name}.parquet")
    raw = Parquet.make(path="set").read(images.top)
    assert raw.classes == CLASSES
    assert (len(raw.train), len(raw.test)) == (20, 10)
    assert torch.equal(raw.test.images[0].permute(1, 2, 0), torch.from_numpy(images.arrays[2]))


def test_parquet_may_name_files(images: Images) -> None:
    images.folder(images.top)
    rows = [
        {"bytes": None, "path": f"{label}/{row:02}.png"} for row, label in enumerate(images.labels)
    ]
    images.write(rows, [CLASSES.index(label) for label in images.labels])
    named = Parquet.make(path="train.parquet").read(images.top)
    assert same(named, images.parquet().read(images.top))


def test_plain_bytes_and_text_labels_under_other_columns(images: Images) -> None:
    columns = {"img": [images.png(row) for row in range(30)], "what": images.labels}
    pq.write_table(pa.table(columns), images.top / "a.parquet")
    raw = Parquet.make(path="a.parquet", label_column="what").read(images.top)
    assert same(raw, images.parquet().read(images.top))


@pytest.mark.parametrize("names", [("train_images", "test_images"), ("x_train", "x_test")])
def test_npz_of_train_and_test(images: Images, names: tuple[str, str]) -> None:
    arrays: dict[str, Any] = {}
    for name, part in zip(names, (slice(0, None, 2), slice(1, None, 2)), strict=True):
        arrays[name] = images.arrays[part]
        arrays[name.replace("images", "labels").replace("x_", "y_")] = np.array(images.labels)[part]
    np.savez(images.top / "images.npz", **arrays)
    raw = Npz.make().read(images.top)
    assert torch.equal(raw.test.images.permute(0, 2, 3, 1), torch.from_numpy(images.arrays[1::2]))
    assert raw.train.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("layout", ["first", "grey", "one"])
def test_npz_in_other_layouts(images: Images, layout: str) -> None:
    expected = images.npz().read(images.top)
    grey = images.arrays[:, :, :, 0]
    arrays = {"first": images.arrays.transpose(0, 3, 1, 2), "grey": grey, "one": grey[..., None]}
    other = images.npz(images=arrays[layout].copy(), labels=np.array(images.labels)[:, None])
    assert same(other.read(images.top), expected)


def test_numbers_are_ordered_as_numbers_and_names_by_alphabet(images: Images) -> None:
    images.npz(labels=[10] * 10 + [9] * 10 + [-1] * 10)
    assert Npz.make().read(images.top).classes == ("-1", "9", "10")
    images.npz(labels=["10"] * 10 + ["9"] * 10 + ["x"] * 10)
    assert Npz.make().read(images.top).classes == ("10", "9", "x")


def test_validation_takes_the_place_of_a_missing_test_set(
    images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    images.csv()
    table = images.top / "csv" / "labels.csv"
    table.rename(table.with_name("train.csv"))
    (table.with_name("val.csv")).write_text(
        "label,note,path\n4,x,4/10.png\n0,,0/00.png\n9,,9/29.png\n"
    )
    raw = CsvTable.make().read(images.top)
    assert raw.test.labels.tolist() == [1, 0, 2]
    assert "validation is taken for the test set" in capsys.readouterr().err


def csv_of(*lines: str, name: str = "labels.csv", **fields: Any) -> Callable[[Images], Dataset]:
    def make(images: Images) -> Dataset:
        images.folder(images.top / "csv")
        (images.top / "secret.png").write_bytes(images.png(0))
        (images.top / "csv" / name).write_text("\n".join(lines) + "\n")
        return CsvTable.make(**fields)

    return make


def npz_of(**arrays: Any) -> Callable[[Images], Dataset]:
    return lambda images: images.npz(**arrays)


def damaged(images: Images) -> Dataset:
    images.npz(images=images.arrays[:, :2, :2].copy())
    path = images.top / "images.npz"
    data = bytearray(path.read_bytes())
    data[200:220] = bytes(20)
    path.write_bytes(data)
    return Npz.make()


def cut(images: Images) -> Dataset:
    set_ = images.parquet()
    path = images.top / "train.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    return set_


def unlabelled(images: Images) -> Dataset:
    images.write([{"bytes": images.png(0), "path": None}] * 2, [0, -1])
    return Parquet.make(path="train.parquet")


def not_a_picture(images: Images) -> Dataset:
    images.write([{"bytes": b"GIF89a", "path": None}] * 30, [0, 1, 2] * 10)
    return Parquet.make(path="train.parquet")


def two_image_columns(images: Images) -> Dataset:
    table = pa.table({"a": [b""] * 4, "b": [b""] * 4, "label": [0, 1] * 2})
    pq.write_table(table, images.top / "a.parquet")
    return Parquet.make(path="a.parquet")


def mixed_files(images: Images) -> Dataset:
    images.parquet(name="train.parquet")
    images.parquet(name="more.parquet")
    return Parquet.make(path=".")


REFUSED = {
    "no column": (
        csv_of("file,label", "0/00.png,0"),
        "labels.csv' has no column 'path'; it has 'file",
    ),
    "no label": (csv_of("path,label", "0/00.png,"), "line 2: path or label is missing"),
    "no file": (csv_of("path,label", "0/00.png,0", "0/x.png,1"), "line 3: '0/x.png' is no file"),
    "way out": (csv_of("path,label", "../secret.png,0", "0/00.png,1"), "leads out of"),
    "absolute": (csv_of("path,label", "/etc/passwd,0", "0/00.png,1"), "'/etc/passwd' leads out of"),
    "a file": (csv_of("path,label", path="csv/labels.csv"), "should lead to its folder"),
    "one class": (csv_of("path,label", "0/00.png,0", "0/01.png,0"), "needs two or more classes"),
    "no csv": (csv_of("path,label", name="labels.txt"), "holds no .csv files"),
    "floats": (
        npz_of(images=np.zeros((30, 8, 8, 3))),
        "images is float64, not uint8 from 0 to 255",
    ),
    "flat": (npz_of(images=np.zeros((30, 64), np.uint8)), "images is 30 x 64, not N x H x W x C"),
    "four": (npz_of(images=np.zeros((30, 8, 8, 4), np.uint8)), "30 x 8 x 8 x 4"),
    "fewer": (npz_of(labels=[0, 1]), "30 images and 2 labels"),
    "float labels": (npz_of(labels=np.zeros(30)), "labels is float64, not integers or text"),
    "objects": (npz_of(labels=np.array([{}] * 30)), "labels is object"),
    "columns": (
        npz_of(images=np.asfortranarray(np.zeros((30, 8, 8, 3), np.uint8))),
        "Fortran's order",
    ),
    "damaged": (damaged, "images.npz' cannot be read"),
    "cut": (cut, "train.parquet' cannot be read as Parquet"),
    "unlabelled": (unlabelled, "label -1 is none of its 3 classes"),
    "no picture": (
        not_a_picture,
        "train.parquet, row 0' cannot be read as PNG or JPEG (cannot identify image file)",
    ),
    "two columns": (
        two_image_columns,
        "2 columns of images among 'a, b, label'; set `image_column`",
    ),
    "mixed": (mixed_files, "more.parquet, train.parquet, which is not clear"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_will_not_do_is_refused_by_name(images: Images, case: str) -> None:
    make, said = REFUSED[case]
    dataset = make(images)
    with pytest.raises(DataError) as caught:
        dataset.read(images.top)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_array_of_python_objects_runs_nothing(images: Images) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(images.top / "sprung"),)

    trap = np.array([Trap()] * 30)
    dataset = images.npz(labels=trap)
    with pytest.raises(DataError):
        dataset.read(images.top)
    assert not (images.top / "sprung").exists()


def test_the_stamp_of_a_single_file_changes_when_it_does(images: Images) -> None:
    images.npz()
    path = images.top / "images.npz"
    before = stamps.stamp(path)
    (images.top / "other").write_text("")
    assert stamps.stamp(path) == before
    os.utime(path, (1, 1))
    assert stamps.stamp(path) != before


# Reads a set under a cap on the memory that is left, and says how many images it got.
CAPPED = """
import resource, sys
from pathlib import Path
import PIL.Image, PIL.PngImagePlugin, numpy, pyarrow.parquet
from bdb.datasets.csv_table import CsvTable
from bdb.datasets.npz import Npz
from bdb.datasets.parquet import Parquet
kind, top, mib = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
held = next(line for line in open("/proc/self/status") if line.startswith("VmData:"))
cap = int(held.split()[1]) * 1024 + (mib << 20)
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
if kind == "whole":
    print(len(numpy.load(top / "images.npz")["images"]))
else:
    methods = {"npz": Npz, "parquet": Parquet, "csv": CsvTable}
    raw = methods[kind].make(path=sys.argv[4], size=8).read(top)
    print(len(raw.train) + len(raw.test))
"""


def capped(kind: str, top: Path, name: str, mib: int = 64) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CAPPED, kind, str(top), str(mib), name]
    # Arrow's own allocator reserves a GiB of addresses at once, which the cap counts as if used.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.skipif(sys.platform != "linux", reason="the cap is Linux's")
@pytest.mark.parametrize("is_packed", [True, False])
def test_an_npz_larger_than_memory_is_streamed(tmp_path: Path, is_packed: bool) -> None:
    """256 MiB of pixels within 64 MiB."""
    save = np.savez_compressed if is_packed else np.savez
    images = np.zeros((256, 1024, 1024), np.uint8)
    save(tmp_path / "images.npz", images=images, labels=np.arange(256) % 2)
    del images
    done = capped("npz", tmp_path, "images.npz")
    assert done.stdout == "256\n", done.stderr
    assert "MemoryError" in capped("whole", tmp_path, "").stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the cap is Linux's")
def test_a_parquet_larger_than_memory_is_streamed(tmp_path: Path) -> None:
    """300 MiB within 160 MiB, of which threads take some; a row group has 10."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (512, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG", compress_level=0)
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    with pq.ParquetWriter(
        tmp_path / "a.parquet", schema, compression="none", use_dictionary=False
    ) as writer:
        table = pa.table({"image": [buffer.getvalue()] * 320, "label": [0, 1] * 160}, schema)
        writer.write_table(table, row_group_size=10)
    assert (tmp_path / "a.parquet").stat().st_size > 300 << 20
    done = capped("parquet", tmp_path, "a.parquet", 160)
    assert done.stdout == "320\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the cap is Linux's")
def test_the_pictures_of_a_csv_are_read_one_at_a_time(tmp_path: Path) -> None:
    """300 MiB of pixels within 64 MiB."""
    (tmp_path / "set").mkdir()
    Image.new("RGB", (1024, 1024)).save(tmp_path / "set/black.png")
    rows = "".join(f"black.png,{number % 2}\n" for number in range(100))
    (tmp_path / "set/a.csv").write_text(f"path,label\n{rows}")
    done = capped("csv", tmp_path, "set")
    assert done.stdout == "100\n", done.stderr
