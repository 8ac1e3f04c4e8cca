"""The user's own raw files, as a stamp that changes when they do."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

# Deeper nothing is read.
DEPTH = 8


def stamp(top: Path) -> str:
    """Sixteen hexadecimal digits of every file's place, size and time; nothing is opened.

    Args:
        top: the folder of all files, or the only file.
    """
    digest = hashlib.sha256()
    folder = top.parent if top.is_file() else top
    only: list[tuple[str, list[str], list[str]]] = [(str(folder), [], [top.name])]
    for place, folders, files in only if top.is_file() else os.walk(top):
        relative = os.path.relpath(place, folder)
        folders[:] = sorted(folders) if relative.count(os.sep) < DEPTH - 1 else []
        for name in sorted(files):
            with suppress(OSError):
                path = os.path.join(place, name)
                # Of a link, what it leads to: every `dvc checkout` makes it anew.
                leads = f" -> {os.readlink(path)}" if os.path.islink(path) else ""
                facts = os.stat(path)
                line = f"{relative}/{name}{leads} {facts.st_size} {facts.st_mtime_ns}\n"
                digest.update(os.fsencode(line))
    return digest.hexdigest()[:16]
