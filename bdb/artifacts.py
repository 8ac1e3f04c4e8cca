"""Reading and writing safetensors, Parquet and JSON: atomic, checked, without pickle.

Every file is written under a temporary name in its own folder and then renamed, so that a reader
sees either nothing or the whole. A safetensors file carries the SHA-256 of its tensors and its
metadata, Parquet pages carry checksums; a reader that finds damage raises `ArtifactError` with the
file's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdb.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

# All metadata lie under one key: safetensors writes several in no fixed order.
_HEADER = "bdb"
# How safetensors, which is written in Rust, ends the message of an OSError.
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block succeeds.

    Raises:
        ArtifactError: the disk is full, or the path cannot be written for another reason.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode  # safetensors would make it the owner's alone
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    except Exception as error:
        reason = _refusal(error)
        if reason is None:
            raise
        raise ArtifactError(f"{path}: cannot be written: {reason}") from error
    finally:
        with suppress(OSError):  # It was never made, or the disk is read-only.
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with sorted keys; NaN is refused."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    with _damage(path):
        return json.loads(path.read_text(encoding="utf-8"))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a data frame as Parquet with page checksums."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        columns = pa.Table.from_pandas(table, preserve_index=False)
        pq.write_table(columns, temporary, write_page_checksum=True, compression="zstd")


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file, checking its pages."""
    import pyarrow.parquet as pq

    with _damage(path):
        wanted = None if columns is None else list(columns)
        table = pq.read_table(path, columns=wanted, page_checksum_verification=True)
        frame: pd.DataFrame = table.to_pandas()
        return frame


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write tensors and JSON metadata as safetensors."""
    from safetensors.torch import save_file

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    arrays = {name: tensor.numpy() for name, tensor in ready.items()}
    facts = dict(metadata or {})
    header = {"sha256": _digest(arrays, facts), "metadata": facts}
    with replacing(path) as temporary:
        save_file(ready, temporary, {_HEADER: json.dumps(header, sort_keys=True)})


def read_tensors(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read every tensor and the metadata of a safetensors file, checking the hash."""
    import torch

    arrays, metadata = read_arrays(path)
    return {name: torch.from_numpy(a).to(device) for name, a in arrays.items()}, metadata


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a safetensors file as NumPy arrays, checking the hash; torch is not needed."""
    from safetensors import safe_open

    with _damage(path), safe_open(path, framework="numpy") as file:
        # A copy: the file's memory map is read-only, and would outlive a replaced file.
        arrays = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()[_HEADER])
        if header["sha256"] != _digest(arrays, header["metadata"]):
            raise ArtifactError(f"{path}: its hash does not match its content; make it anew")
        return arrays, header["metadata"]


def read_some_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read a few small tensors of a large file; only what is read is looked at."""
    from safetensors import safe_open

    with _damage(path), safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name).copy() for name in names}


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata of a safetensors file without its tensors."""
    from safetensors import safe_open

    with _damage(path), safe_open(path, framework="numpy") as file:
        metadata: dict[str, Any] = json.loads(file.metadata()[_HEADER])["metadata"]
        return metadata


def require(
    tensors: Mapping[str, torch.Tensor], path: Path, **expected: tuple[torch.dtype, int]
) -> None:
    """Check that each named tensor is there with its dtype and number of dimensions."""
    for name, (dtype, dimensions) in expected.items():
        if name not in tensors:
            raise ArtifactError(f"{path}: no tensor {name!r}; make the file anew")
        tensor = tensors[name]
        if tensor.dtype != dtype or tensor.dim() != dimensions:
            raise ArtifactError(
                f"{path}: {name!r} is {tensor.dtype} with {tensor.dim()} dimensions, "
                f"not {dtype} with {dimensions}"
            )


def missing(path: Path) -> str:
    """Why a file is not there, and what helps."""
    if path.is_symlink():
        return (
            f"{path}: a link that leads nowhere, as after a clean-up of the cache or a move of the "
            "project; `bdb sync` restores or drops it"
        )
    return f"{path}: no such file; run the stage that makes it"


def _digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    import numpy as np

    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def _refusal(error: Exception) -> str | None:
    """What the operating system said when it refused to write; None of other errors."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error)
    found = _RUST_ERROR.search(str(error))
    return os.strerror(int(found[1])) if found else None


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Report whatever a reader trips over as one line about the file."""
    if not path.is_file():
        raise ArtifactError(missing(path))
    try:
        yield
    except ArtifactError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{path}: damaged ({reason}); make it anew") from error
