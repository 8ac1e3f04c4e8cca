"""Raw files: downloading what is missing, decoding images, and saying which file is at fault."""

from __future__ import annotations

import shutil
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bdb.errors import DataError

_SECONDS_WITHOUT_ANSWER = 15.0
# A chunk of a file may be as long as the file, and is read whole.
_MAX_BYTES = 1 << 28


def fetch(title: str, root: Path, folder: str, download: Callable[[Path], object]) -> None:
    """Download `root`/`folder` unless it is there: whole, or not at all.

    Args:
        title: of the data set, for the message.
        root: of all raw data.
        folder: what the data set's files lie in.
        download: fills `folder` below the path it is given.

    Raises:
        DataError: it could not be downloaded; the message says where to put the files.
    """
    if (root / folder).exists():
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _patience(), TemporaryDirectory(dir=root, prefix=".download-") as fresh:
            download(Path(fresh))
            shutil.move(Path(fresh) / folder, root / folder)
    except Exception as error:
        raise DataError(
            f"{title} is not below {root} and could not be downloaded ({reason(error)}); "
            f"put {folder} there or set BDB_DATA to the folder that holds it"
        ) from error


@contextmanager
def _patience() -> Iterator[None]:
    """Give up on a network that does not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_WITHOUT_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def reason(error: BaseException) -> str:
    """What an exception says, on one short line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return first[:200] or type(error).__name__


def decode_all(paths: Sequence[Path], size: int, formats: tuple[str, ...]) -> Tensor:
    """Decode image files to uint8, N x 3 x size x size.

    Args:
        paths: of the files.
        size: side in pixels that every image is resized to (bilinear, antialiased).
        formats: that Pillow may take the files for, whatever their names end with.

    Raises:
        DataError: a file is damaged, of another format, or too large; the message names it.
    """
    images = np.empty((len(paths), size, size, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        # What is odd but can be read is read in silence. Of images that would fill the memory
        # Pillow only warns, and refuses no less than twice their size.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, path in zip(images, paths, strict=True):
            row[:] = _decode(path, size, formats)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _decode(path: Path, size: int, formats: tuple[str, ...]) -> np.ndarray:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        with Image.open(path, formats=formats) as opened:
            image = _to_rgb(ImageOps.exif_transpose(opened))
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(
            f"{str(path)!r} cannot be read as {' or '.join(formats)} ({reason(error)}); "
            "replace or remove it"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """Grey, palette and CMYK to RGB; 16 bits to 8; what is transparent shows white."""
    if image.mode.startswith("I"):
        high_byte = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(high_byte.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert("RGB")
