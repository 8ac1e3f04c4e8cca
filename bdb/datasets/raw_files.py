"""Raw files: downloading what is missing, decoding images, and saying which file is at fault."""

from __future__ import annotations

import re
import shutil
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
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
# Of 65,535. Where no image of 16 bits is brighter, 12 bits or 8 were meant.
_DIM = 1 << 12


@dataclass(frozen=True)
class Source:
    """One image, not yet decoded.

    Attributes:
        where: what a message calls it.
        content: a file, what a file holds, or pixels: uint8, H x W or H x W x C.
    """

    where: str
    content: Path | bytes | np.ndarray

    @property
    def length(self) -> int:
        """In bytes."""
        content = self.content
        if isinstance(content, Path):
            return content.stat().st_size
        return len(content) if isinstance(content, bytes) else content.nbytes

    def open(self, formats: tuple[str, ...]) -> Image.Image:
        """As Pillow has it; a file may be of these formats."""
        if isinstance(self.content, np.ndarray):
            return Image.fromarray(self.content)
        content = BytesIO(self.content) if isinstance(self.content, bytes) else self.content
        return Image.open(content, formats=formats)


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


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        DataError: it is missing, or no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _incomplete(path, reason(error)) from error
    return [line for line in text.splitlines() if line.strip()]


def listed(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder that end with a suffix, by name.

    Raises:
        DataError: the folder is missing, or holds none.
    """
    found = sorted(folder.glob(f"*{suffix}"))
    if not found:
        raise _incomplete(folder, f"it holds no {suffix} file")
    return found


def gather(classes: Sequence[Sequence[Path]]) -> tuple[list[Path], Tensor]:
    """The files of every class in one row, and the class of each: int64, N."""
    labels = [torch.full((len(paths),), label) for label, paths in enumerate(classes)]
    return [path for paths in classes for path in paths], torch.cat(labels)


def _incomplete(path: Path, why: str) -> DataError:
    return DataError(f"{path} cannot be read ({why}); unpack the data set anew")


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
    first = re.sub(r" <\S+ object at 0x\w+>", "", first)
    return first[:200] or type(error).__name__


def decode_all(
    paths: Sequence[Path], size: int, formats: tuple[str, ...], grey_bits: int = 16
) -> Tensor:
    """Decode image files to uint8, N x 3 x size x size.

    Args:
        paths: of the files.
        size: side in pixels that every image is resized to (bilinear, antialiased).
        formats: that Pillow may take the files for, whatever their names end with.
        grey_bits: that count in grey images of 16 bits per pixel.

    Raises:
        DataError: a file is damaged, of another format, too large, or holds more than one frame, or
            all images of 16 bits are nearly black; the message names a file.
    """
    return decode(
        [Source(str(path), path) for path in paths], range(len(paths)), size, formats, grey_bits
    )


def decode(
    sources: Iterable[Source],
    places: Sequence[int],
    size: int,
    formats: tuple[str, ...],
    grey_bits: int = 16,
) -> Tensor:
    """Decode images from wherever they lie, one at a time, to uint8, N x 3 x size x size.

    Args:
        sources: as many as there are places; each is asked for when the one before is done.
        places: where in the result each image goes.
        size: see `decode_all`, as of all else.
        formats: likewise.
        grey_bits: likewise.

    Raises:
        DataError: as `decode_all`; or so many images of this size do not fit into the memory.
    """
    images = _room(len(places), size)
    deep: dict[str, int] = {}
    with warnings.catch_warnings():
        # What is odd but can be read is read in silence. Of images that would fill the memory
        # Pillow only warns, and refuses no less than twice their size.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for place, source in zip(places, sources, strict=True):
            pixels, brightest = _decode(source, size, formats, grey_bits)
            images[place] = pixels.transpose(2, 0, 1)
            deep |= {} if brightest is None else {source.where: brightest}
    _check_depth(deep, grey_bits)
    return torch.from_numpy(images)


def _room(count: int, size: int) -> np.ndarray:
    try:
        return np.empty((count, 3, size, size), dtype=np.uint8)
    except MemoryError:
        gib = count * 3 * size**2 / 2**30
        raise DataError(
            f"{count} images of {size} x {size} pixels take {gib:.0f} GiB, more than there is; "
            "lower `size`"
        ) from None


def _check_depth(deep: dict[str, int], grey_bits: int) -> None:
    """Refuse images that hold 8 or 12 bits in the lower end of 16: they would come out black."""
    brightest = max(deep.values(), default=_DIM)
    if brightest < _DIM and grey_bits == 16:
        bits = max(8, brightest.bit_length())
        raise DataError(
            f"{min(deep)!r} and {len(deep) - 1} more have 16 bits per pixel, and none "
            f"is brighter than {brightest}: set `grey_bits: {bits}` if they are grey, or convert "
            "them to 8 bits"
        )


def _decode(
    source: Source, size: int, formats: tuple[str, ...], grey_bits: int
) -> tuple[np.ndarray, int | None]:
    """Pixels, H x W x 3; of an image of 16 bits also its brightest value, of 65,535."""
    try:
        if source.length > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        with source.open(formats) as opened:
            if opened.format == "PNG" and getattr(opened, "n_frames", 1) > 1:
                raise ValueError("it holds more than one frame")
            is_deep = any(";16" in str(tile[3]) for tile in getattr(opened, "tile", ()))
            upright = ImageOps.exif_transpose(opened)
            brightest = _brightest(upright) if is_deep else None
            image = _to_rgb(upright, grey_bits)
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image), brightest
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(
            f"{source.where!r} cannot be read as {' or '.join(formats)} ({reason(error)}); "
            "replace or remove it"
        ) from error


def _brightest(image: Image.Image) -> int:
    """Of 65,535; of images with colours Pillow has kept the upper byte alone."""
    top = int(np.asarray(image).max())
    return top if image.mode.startswith("I") else top << 8


def _to_rgb(image: Image.Image, grey_bits: int) -> Image.Image:
    """Grey, palette and CMYK to RGB; 16 bits to 8; what is transparent shows white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.max() >= 1 << grey_bits:
            raise ValueError(f"it holds {values.max()}, more than `grey_bits: {grey_bits}` can")
        image = Image.fromarray((values >> (grey_bits - 8)).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert("RGB")
