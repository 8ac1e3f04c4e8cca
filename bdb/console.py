"""What a person sees: progress bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

_QUIET_SECONDS = 10.0


def say(message: str) -> None:
    """Write one plain line to standard error, at once and whole: other threads write there, too."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def track(items: Iterable[T], what: str) -> Iterator[T]:
    """Yield the items, showing how far we are."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, description=what, console=Console(stderr=True))
    else:
        yield from _log(items, what)


def _log(items: Iterable[T], what: str) -> Iterator[T]:
    """A line when ten seconds have passed since the last, so that logs stay short."""
    total = f"/{len(items)}" if isinstance(items, Sized) else ""
    last = time.monotonic()
    for done, item in enumerate(items):
        yield item
        if time.monotonic() - last >= _QUIET_SECONDS:
            last = time.monotonic()
            say(f"{what}: {done + 1}{total}")
