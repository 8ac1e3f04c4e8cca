"""Presets: parameter files that are put in place of params.yaml."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from bdb import artifacts
from bdb.errors import ParamsError, unknown

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The presets that exist."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def text(name: str) -> str:
    """A preset's file.

    Raises:
        ParamsError: there is none of this name.
    """
    if name not in names():
        raise ParamsError(unknown("preset", name, names()))
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def put(name: str, path: Path) -> None:
    """Write a preset to `path`."""
    artifacts.write_text(path, text(name))


def listing() -> str:
    """Every preset with the first sentence of its comment."""
    width = max(len(name) for name in names())
    return "\n".join(f"{name:<{width}}  {_about(name)}" for name in names())


def _about(name: str) -> str:
    comment = takewhile(lambda line: line.startswith("#"), text(name).splitlines())
    return " ".join(line.lstrip("# ") for line in comment).partition(". ")[0].rstrip(".") + "."
