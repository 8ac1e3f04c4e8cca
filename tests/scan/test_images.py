"""Images that are brought may mean harm, too: one line, nothing waited for or run."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bdb.datasets.base import DataSpec
from bdb.errors import DataError
from bdb.scan import images

DATA = DataSpec(dataset="x", classes=("0", "1"), shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
MARK = "/tmp/bdb-images-fooled-a-scan"


class Call:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARK}",)


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link out": lambda path: path.symlink_to("/etc/hostname"),
    "a loop": lambda path: path.symlink_to(path.name),
    "a folder": Path.mkdir,
    "a bomb": lambda path: path.write_bytes(png(12_000, 12_000)),
    "half a file": lambda path: path.write_bytes(png(32, 32)[:40]),
    "another form": lambda path: path.write_bytes(b"GIF89a" + b"\0" * 50),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Call())),
}


@pytest.mark.parametrize("read", [images.labelled, images.unlabelled])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_means_harm(tmp_path: Path, name: str, read: Callable[..., Any]) -> None:
    for label in DATA.classes:
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_bytes(png(32, 32))
    read(tmp_path, DATA)
    PICTURES[name](tmp_path / "1" / "b.png")
    with pytest.raises(DataError) as caught:
        read(tmp_path, DATA)
    assert len(str(caught.value).splitlines()) == 1
    assert "b.png" in str(caught.value)


@pytest.mark.parametrize("which", ["images", "labels"])
def test_an_npz_runs_nothing(tmp_path: Path, which: str) -> None:
    calls: Any = np.array([Call(), Call()], dtype=object)
    arrays: dict[str, Any] = {
        "images": np.zeros((2, 32, 32, 3), np.uint8), "labels": np.array([0, 1])
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", allow_pickle=True, **(arrays | {which: calls}))
    with pytest.raises(DataError, match=f"{which} is object"):
        images.labelled(tmp_path, DATA)
    assert not Path(MARK).exists()
