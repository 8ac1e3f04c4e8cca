"""What a pickle would do, read off its opcodes: nothing of it is executed."""

from __future__ import annotations

from typing import BinaryIO

from bdb.errors import SuspectError, printable
from bdb.scan.pickle_machine import Machine

# What a file of tensors calls; torch's own reader is no less strict.
_KINDS = [
    "Float",
    "Double",
    "Half",
    "BFloat16",
    "Long",
    "Int",
    "Short",
    "Char",
    "Byte",
    "Bool",
    "Untyped",
    "ComplexFloat",
]
ALLOWED = frozenset(
    {
        "collections.OrderedDict",
        "_codecs.encode",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        *(f"torch.{kind}Storage" for kind in _KINDS),
        *(f"torch.storage.{kind}Storage" for kind in ("Typed", "Untyped")),
        *(f"torch.{kind}" for kind in ("float32", "float64", "float16", "bfloat16", "int64")),
        *(f"{core}.multiarray.{name}" for core in ("numpy.core", "numpy._core")
          for name in ("_reconstruct", "scalar")),
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.dtypes.Float64DType",
        "numpy.dtypes.Int64DType",
    }
)  # fmt: skip


def check(stream: BinaryIO, limit: int, room: int) -> None:
    """Refuse a pickle that would call anything but what makes tensors.

    Args:
        stream: at the pickle's beginning; afterwards at its end.
        limit: its greatest length in bytes.
        room: bytes that a storage can have at most, which is what the whole file has.

    Raises:
        SuspectError: it would, or it is damaged, or made to exhaust its reader; no file is named.
    """
    called: set[str] = set()
    try:
        for name in Machine(room).called(stream, limit):
            called.add(name)
    except SuspectError:
        _refuse(called - ALLOWED)
        raise
    except Exception as error:  # genops raises whatever a damaged pickle leads it to
        _refuse(called - ALLOWED)
        raise SuspectError(f"a damaged pickle ({type(error).__name__})") from error
    _refuse(called - ALLOWED)


def _refuse(called: set[str]) -> None:
    if called:
        names = ", ".join(printable(name)[:80] for name in sorted(called)[:5])
        more = f" and {len(called) - 5} more" if len(called) > 5 else ""
        raise SuspectError(f"its pickle would call {names}{more}; nothing of it was run")
