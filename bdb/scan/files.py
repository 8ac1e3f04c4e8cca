"""Files that somebody brought -> tensors by name, and the plain facts that stand beside them.

What a file is, its content says, not its name. Nothing of it is run, and what it makes us allocate
is bounded by its own length.
"""

from __future__ import annotations

import json
import pickle
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from bdb.errors import BdbError, SuspectError, line
from bdb.scan import pickles

_HEADER = 1 << 25  # bytes of a safetensors header
_PICKLE = 1 << 27  # bytes of a pickle; a record of 50,000 poisoned paths has a tenth of it
_CONFIG = 1 << 20
_ENTRIES = 1 << 16
_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's, of files before 1.6
_PARTS = 5  # pickles that such a file begins with
# Where people put a state dict within a checkpoint.
_PLACES = ("model", "state_dict", "model_state_dict", "model_state", "net", "weights", "params")


@dataclass(frozen=True)
class Found:
    """What a file held.

    Attributes:
        path: of the file.
        state: tensors by name, finite floats and integers, on the CPU.
        facts: text, numbers and short lists that stood beside them.
        records: all else: made of mappings, lists, plain values, arrays and tensors alone.
        is_ours: whether bdb wrote it, with a specification.
    """

    path: Path
    state: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    is_ours: bool = False


def read(path: Path) -> Found:
    """Read a file, or the model in a folder.

    Raises:
        SuspectError: it is missing, damaged, of a form that is not read, or meant to do harm.
    """
    with named(path):
        return _folder(path) if path.is_dir() else _file(path)


def _folder(folder: Path) -> Found:
    """The weights of a folder, with its config.json if it has one."""
    names = ("model.safetensors", "pytorch_model.bin", "attack_result.pt")
    path = next((folder / name for name in names if (folder / name).exists()), None)
    if path is None:
        raise SuspectError(f"a folder without {', '.join(names[:-1])} or {names[-1]}")
    found = _file(path)
    config = folder / "config.json"
    if not config.exists():
        return found
    with _open(config, _CONFIG) as file:
        facts = json.loads(file.read())
    if not isinstance(facts, dict):
        raise SuspectError("config.json holds no keys")
    return replace(found, facts=facts)


def _file(path: Path) -> Found:
    with _open(path) as file:
        start = file.read(len(_MAGIC))
    size = path.stat().st_size
    if start[8:9] == b"{":
        return _safetensors(path, size, int.from_bytes(start[:8], "little"))
    if start.startswith(b"PK\x03\x04"):
        _check_zip(path, size)
    elif start[:1] == b"\x80" or start[:1] in b"(]}cl":
        _check_legacy(path, size, start)
    else:
        raise SuspectError("neither safetensors nor a file of torch.save")
    return _torch(path)


def _safetensors(path: Path, size: int, header: int) -> Found:
    from safetensors import safe_open
    from safetensors.torch import load_file

    if header > min(_HEADER, size - 8):
        raise SuspectError(f"a header of {header:,} bytes in a file of {size:,}")
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
    records = {"about": json.loads(metadata["about"])} if "about" in metadata else {}
    return Found(path, _checked(load_file(path)), records=records, is_ours="bdb" in metadata)


def _check_zip(path: Path, size: int) -> None:
    """Refuse an archive that torch has not written, and pickles that would call something."""
    with _open(path) as file, zipfile.ZipFile(file) as archive:
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
    with _open(path) as file:
        parts = _PARTS if start == _MAGIC else 1
        for _ in range(parts):
            pickles.check(file, _PICKLE, size)
    if parts == 1:
        raise SuspectError("a pickle that torch.save has not written; save a state_dict()")


def _torch(path: Path) -> Found:
    """Load what has passed the check, by torch's own reader of weights alone."""
    mapped = zipfile.is_zipfile(path)
    with torch.serialization.safe_globals(_numpy_globals()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a newer pickle, which is read or is not
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError:  # torch's message advises to load it without the check
            raise SuspectError("damaged, or more than torch's reader of weights takes") from None
    if not isinstance(loaded, Mapping):
        raise SuspectError(f"it holds a {type(loaded).__name__}; save a state_dict()")
    places = [loaded, *(loaded.get(name) for name in _PLACES)]
    state = next((place for place in places if _is_state(place)), None)
    if state is None:
        raise SuspectError("it holds no tensors by name; save a state_dict()")
    beside = {} if state is loaded else {k: v for k, v in loaded.items() if v is not state}
    facts = {name: value for name, value in beside.items() if _is_plain(value)}
    records = {name: value for name, value in beside.items() if name not in facts}
    return Found(path, _checked(dict(state)), facts, records)


def _numpy_globals() -> list[Any]:
    """What the records of images in a BackdoorBench file are made of, by old names and new."""
    core = np._core.multiarray  # type: ignore[attr-defined]
    made = [core._reconstruct, core.scalar]
    old = [(each, f"numpy.core.multiarray.{each.__name__}") for each in made]
    dtypes = [type(np.dtype(kind)) for kind in ("float64", "int64")]
    return [*made, *old, np.ndarray, np.dtype, *dtypes]


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _is_plain(value: object) -> bool:
    """Whether it is text, a number, or a short list of such."""
    if isinstance(value, (list, tuple)):
        return len(value) <= 8 and all(isinstance(each, (int, float, str)) for each in value)
    return isinstance(value, (int, float, str))


def _checked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of a model that was on one device; NaN and tricks are refused."""
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise SuspectError(f"{name}: a tensor that is no plain array")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise SuspectError(f"{name}: a tensor larger than what is stored of it")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise SuspectError(f"{name}: NaN or infinity among the weights")
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if wrapped else name: t for name, t in state.items()}


def _open(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a regular file; a pipe would wait for ever, a device never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise SuspectError("not a file")
    if limit is not None and path.stat().st_size > limit:
        raise SuspectError(f"{path.name}: larger than {limit:,} bytes")
    return path.open("rb")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Report whatever a reader trips over as one line about the file."""
    try:
        yield
    except BdbError as error:
        raise SuspectError(f"{path}: {error}") from error
    except MemoryError:
        raise SuspectError(f"{path}: more than the memory holds") from None
    except OSError as error:
        raise SuspectError(f"{path}: {error.strerror or line(error)}") from error
    except Exception as error:
        reason = line(error)[:200] or type(error).__name__
        raise SuspectError(f"{path}: damaged ({reason})") from error
