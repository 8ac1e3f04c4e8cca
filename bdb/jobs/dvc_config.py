"""DVC's configuration, by DVC's own rules and with its parser, without importing DVC (a second)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bdb.errors import BdbError

Section = dict[str, Any]


def find(folder: Path | None = None) -> Path | None:
    """The `.dvc` folder of the DVC project around `folder`, or None."""
    start = (folder or Path.cwd()).absolute()
    return next((p / ".dvc" for p in (start, *start.parents) if (p / ".dvc").is_dir()), None)


def read(dvc: Path) -> dict[str, Section]:
    """All levels in one: what is local to the project hides the project's, that the user's.

    Raises:
        BdbError: a file is not one that DVC could read.
    """
    merged: dict[str, Section] = {}
    for path in (*_outside(), dvc / "config", dvc / "config.local"):
        for section, values in _load(path).items():
            merged.setdefault(section, {}).update(values)
    return merged


def cache_dir(config: dict[str, Section], dvc: Path) -> Path:
    """Where the cache lies.

    Raises:
        BdbError: what the configuration names is no folder of this machine.
    """
    cache = config.get("cache", {})
    remote = config.get(f'remote "{cache["local"]}"', {}) if "local" in cache else {}
    path = remote.get("url") or cache.get("dir") or dvc / "cache"
    if not isinstance(path, Path):
        raise BdbError(f"DVC's cache.dir: {path!r} is no folder on this machine; `dvc cache dir`")
    return path


def is_shared(config: dict[str, Section]) -> bool:
    """Whether a group of users writes to the cache."""
    return str(config.get("cache", {}).get("shared", "")).lower() == "group"


def is_without_git(config: dict[str, Section]) -> bool:
    """Whether DVC was told that there is no git."""
    return str(config.get("core", {}).get("no_scm", "")).lower() == "true"


def _load(path: Path) -> dict[str, Section]:
    if not path.is_file():
        return {}
    from configobj import ConfigObj, ConfigObjError

    try:
        raw = ConfigObj(str(path), encoding="utf-8").dict()
    except (ConfigObjError, UnicodeError, OSError) as error:
        raise BdbError(f"{path}: not a configuration that DVC can read ({error})") from None
    sections = {name.lower(): each for name, each in raw.items() if isinstance(each, dict)}
    return {name: _section(name, each, path) for name, each in sections.items()}


def _section(name: str, raw: Section, path: Path) -> Section:
    """Keys in small letters, and paths as seen from the file that they stand in."""
    values = {key.lower(): value for key, value in raw.items()}
    key = {"cache": "dir"}.get(name, "url" if name.startswith("remote ") else "")
    if isinstance(given := values.get(key), str) and not re.match(r"\w+://", given):
        values[key] = Path(os.path.normpath(path.absolute().parent / os.path.expanduser(given)))
    return values


def _outside() -> Iterator[Path]:
    """The system's and the user's configuration."""
    system, user = _folders()
    yield Path(os.environ.get("DVC_SYSTEM_CONFIG_DIR") or system) / "config"
    yield Path(os.environ.get("DVC_GLOBAL_CONFIG_DIR") or user) / "config"


def _folders() -> tuple[str, str]:
    if sys.platform != "linux":
        import platformdirs

        names = ("dvc", "iterative")
        return platformdirs.site_config_dir(*names), platformdirs.user_config_dir(*names)
    system = (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)[0]
    user = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return f"{system}/dvc", os.path.expanduser(f"{user}/dvc")
