"""Files that somebody brought -> tensors by name, and the plain facts that stand beside them.

What a file is, its content says, not its name. Nothing of it is run, and what it makes us allocate
is bounded by its own length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from bdb.errors import BdbError, SuspectError, line
from bdb.scan import states, torch_files

_HEADER = 1 << 25  # bytes of a safetensors header
_CONFIG = 1 << 20
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
    with torch_files.opened(config, _CONFIG) as file:
        facts = json.loads(file.read())
    if not isinstance(facts, dict):
        raise SuspectError("config.json holds no keys")
    return replace(found, facts=facts)


def _file(path: Path) -> Found:
    with torch_files.opened(path) as file:
        start = file.read(len(torch_files.MAGIC))
    if start[8:9] == b"{":
        size = path.stat().st_size
        return _safetensors(path, size, int.from_bytes(start[:8], "little"))
    if start.startswith(b"PK\x03\x04") or start[:1] == b"\x80" or start[:1] in b"(]}cl":
        return _checkpoint(path, torch_files.load(path, start))
    raise SuspectError("neither safetensors nor a file of torch.save")


def _safetensors(path: Path, size: int, header: int) -> Found:
    if header > min(_HEADER, size - 8):
        raise SuspectError(f"a header of {header:,} bytes in a file of {size:,}")
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
    records = {"about": json.loads(metadata["about"])} if "about" in metadata else {}
    return Found(path, states.checked(load_file(path)), records=records, is_ours="bdb" in metadata)


def _checkpoint(path: Path, loaded: Mapping[str, Any]) -> Found:
    """The state dict in what torch.save wrote, and what stands beside it."""
    places = [loaded, *(loaded.get(name) for name in _PLACES)]
    state = next((place for place in places if states.is_state(place)), None)
    if state is None:
        raise SuspectError("it holds no tensors by name; save a state_dict()")
    beside = {} if state is loaded else {k: v for k, v in loaded.items() if v is not state}
    facts = {name: value for name, value in beside.items() if states.is_plain(value)}
    records = {name: value for name, value in beside.items() if name not in facts}
    return Found(path, states.checked(dict(state)), facts, records)


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
