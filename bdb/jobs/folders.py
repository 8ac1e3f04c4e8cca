"""Where bdb keeps what it can make again, and what takes the place of a home without use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import cache as once
from pathlib import Path

from bdb.console import say

_STAND_IN = Path(".snakemake/home")
_HOMES = {"HOME": "", "XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config"}


def cache() -> Path | None:
    """A folder of the user's that can be written to; without one, everything only takes longer."""
    for folder in _candidates():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return _none()


def stand_in() -> None:
    """Give this process and its jobs folders in the project, where the user's cannot be used.

    Snakemake stops without a cache folder, and DVC where its settings would lie below a file.
    """
    before = dict(os.environ)
    for name, usual in _HOMES.items():
        if not _is_usable(name):
            os.environ[name] = str((_STAND_IN / usual).absolute())
            Path(os.environ[name]).mkdir(parents=True, exist_ok=True)
    if os.environ != before:
        say(f"your home cannot be used: {_STAND_IN} takes its place; set HOME to a folder of yours")


def _is_usable(name: str) -> bool:
    """Whether a folder is there, or can be made: but for the cache it is enough to read it."""
    folder = Path(os.environ.get(name) or os.path.expanduser(f"~/{_HOMES[name]}"))
    if name == "HOME":
        return folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return name == "XDG_CONFIG_HOME" or os.access(folder, os.W_OK | os.X_OK)


def _candidates() -> Iterator[Path]:
    if base := os.environ.get("XDG_CACHE_HOME"):
        yield Path(base) / "bdb"
    home = os.path.expanduser("~")
    if home != "~":
        yield Path(home) / ".cache" / "bdb"
    try:
        yield Path(tempfile.gettempdir()) / f"bdb-{os.getuid()}"
    except FileNotFoundError:
        return


@once
def _none() -> None:
    say(
        "no folder of yours can be written to, and planning takes longer: "
        "set XDG_CACHE_HOME to one that can"
    )
