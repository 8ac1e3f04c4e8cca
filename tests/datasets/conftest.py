import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bdb.datasets.base import Dataset
from bdb.errors import DataError

Refusal = Callable[[Dataset, Path], str]
Paint = Callable[..., None]


@pytest.fixture
def refusal() -> Refusal:
    """The one line by which a data set is refused."""

    def refuse(dataset: Dataset, root: Path) -> str:
        with pytest.raises(DataError) as caught:
            dataset.read(root)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.fixture
def paint() -> Paint:
    """Writes a JPEG of one grey."""

    def write(path: Path, grey: int, size: tuple[int, int] = (64, 64)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (grey, grey, grey)).save(path, format="JPEG")

    return write
