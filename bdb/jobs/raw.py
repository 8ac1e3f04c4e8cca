"""The user's own raw files, as a stamp that changes when they do."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

# Deeper than split/class/image nothing is read.
_DEPTH = 3


def stamp(folder: Path) -> str:
    """Sixteen hexadecimal digits of every file's place, size and time; nothing is opened."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        relative = os.path.relpath(place, folder)
        folders[:] = sorted(folders) if relative.count(os.sep) < _DEPTH - 1 else []
        for name in sorted(files):
            with suppress(OSError):
                path = os.path.join(place, name)
                # Of a link, what it leads to: every `dvc checkout` makes it anew.
                leads = f" -> {os.readlink(path)}" if os.path.islink(path) else ""
                facts = os.stat(path)
                line = f"{relative}/{name}{leads} {facts.st_size} {facts.st_mtime_ns}\n"
                digest.update(os.fsencode(line))
    return digest.hexdigest()[:16]
