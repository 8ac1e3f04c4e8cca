"""Files of torch.save: archives and bare pickles, checked before torch's own reader sees them."""

from __future__ import annotations

import pickle
import stat
import warnings
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from bdb.errors import SuspectError
from bdb.scan import pickles

# torch's, of files before 1.6
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PICKLE = 1 << 27  # bytes of a pickle; a record of 50,000 poisoned paths has a tenth of it
_ENTRIES = 1 << 16
_PARTS = 5  # pickles that a file of old begins with


def load(path: Path, start: bytes) -> Mapping[str, Any]:
    """What a file holds, by torch's own reader of weights alone, once it has passed the checks.

    Args:
        path: of the file.
        start: its first bytes, as many as `MAGIC` has.

    Raises:
        SuspectError: it would call something, is damaged, or holds nothing by name.
    """
    size = path.stat().st_size
    mapped = start.startswith(b"PK\x03\x04")
    if mapped:
        _check_zip(path, size)
    else:
        _check_legacy(path, size, start)
    with torch.serialization.safe_globals(numpy_globals()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a newer pickle, which is read or is not
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError:  # torch's message advises to load it without the check
            raise SuspectError("damaged, or more than torch's reader of weights takes") from None
    if not isinstance(loaded, Mapping):
        raise SuspectError(f"it holds a {type(loaded).__name__}; save a state_dict()")
    return loaded


def numpy_globals() -> list[Any]:
    """What the records of images in a BackdoorBench file are made of, by old names and new."""
    core = np._core.multiarray  # type: ignore[attr-defined]
    made = [core._reconstruct, core.scalar]
    old = [(each, f"numpy.core.multiarray.{each.__name__}") for each in made]
    dtypes = [type(np.dtype(kind)) for kind in ("float64", "int64")]
    return [*made, *old, np.ndarray, np.dtype, *dtypes]


def opened(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a regular file; a pipe would wait for ever, a device never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise SuspectError("not a file")
    if limit is not None and path.stat().st_size > limit:
        raise SuspectError(f"{path.name}: larger than {limit:,} bytes")
    return path.open("rb")


def _check_zip(path: Path, size: int) -> None:
    """Refuse an archive that torch has not written, and pickles that would call something."""
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        file.seek(size - 22)
        if file.read(4) != b"PK\x05\x06" or min(entry.header_offset for entry in entries):
            raise SuspectError("an archive with something before or behind it")
        if len(entries) > _ENTRIES or len(set(names)) < len(names):
            raise SuspectError("an archive with too many files, or two of one name")
        if any(entry.compress_type or entry.flag_bits & 1 for entry in entries):
            raise SuspectError("a compressed archive, which torch does not write")
        if sum(entry.file_size for entry in entries) > size:
            raise SuspectError("an archive whose files are larger than it")
        if len({name.split("/")[0] for name in names}) > 1:
            raise SuspectError("an archive of more than one folder")
        for entry in entries:
            if entry.filename.endswith("constants.pkl"):
                raise SuspectError("a TorchScript archive, which is code; save its state_dict()")
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as stream:
                    data = BytesIO(stream.read(_PICKLE + 1))
                pickles.check(data, _PICKLE, size)


def _check_legacy(path: Path, size: int, start: bytes) -> None:
    """Likewise for files of old, and for any other pickle: what it calls is said first."""
    with opened(path) as file:
        parts = _PARTS if start == MAGIC else 1
        for _ in range(parts):
            pickles.check(file, _PICKLE, size)
    if parts == 1:
        raise SuspectError("a pickle that torch.save has not written; save a state_dict()")
