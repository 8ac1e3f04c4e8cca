"""Temporary files that jobs left behind when they were killed."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bdb import layout

_OLD = 24 * 60 * 60.0


def remove_of(outputs: Iterable[Path]) -> None:
    """Remove what earlier attempts at these outputs left; only one job at a time makes them."""
    for path in outputs:
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            left.unlink(missing_ok=True)


def remove_old(cache: Path) -> None:
    """Remove all that no living job can be writing: what nobody has touched for a day."""
    for place in (cache, layout.PREPARED, layout.POISONED, layout.RESULTS):
        for left in place.rglob(".*.tmp"):
            with suppress(OSError):
                if time.time() - left.lstat().st_mtime > _OLD:
                    os.unlink(left)
