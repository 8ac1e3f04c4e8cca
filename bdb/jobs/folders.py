"""Where bdb keeps what it can make again: the catalogue and the sheets of jobs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache() -> Path:
    """A folder of the user's that can be written to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "bdb"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"bdb-{os.getuid()}"
        folder.mkdir(parents=True, exist_ok=True)
    return folder
