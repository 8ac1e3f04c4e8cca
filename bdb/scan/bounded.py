"""A stream that makes no reader hold more than it should."""

from __future__ import annotations

from typing import BinaryIO

from bdb.errors import SuspectError

# Longest string or number in a pickle; names of weights are short.
_LONGEST = 1 << 20


class Bounded:
    """A stream that gives no more than a string's length at a time, and a pickle's in all."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def tell(self) -> int:
        """Where the stream stands."""
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        """As a file does."""
        if not 0 <= size <= _LONGEST:
            raise SuspectError(f"a value of {size:,} bytes")
        return self._counted(self._stream.read(size))

    def readline(self) -> bytes:
        """As a file does."""
        return self._counted(self._stream.readline(_LONGEST))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise SuspectError("too long a pickle")
        return data
