"""A setting as text: `name.field=value` for each field that is not as by default, with spaces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bdb import layout

if TYPE_CHECKING:
    import pandas as pd

# The source of several clean sets as far as victims are concerned, unless they have seen them all.
KEPT = "reserved"
# Of a cell whose clean images its victim has seen, beside others that it has not: their share.
BESIDE = "clean_set.reserved"


def part(name: str, field: str, value: Any) -> str:
    """One field of a method; text stands as it is, all else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"{name}.{field}={text}"


def of(setting: str, name: str) -> str:
    """The part of a setting that speaks of a method."""
    return " ".join(part for part in setting.split() if part.startswith(f"{name}."))


def without(setting: str, name: str) -> str:
    """The part of a setting that speaks of other methods."""
    return " ".join(part for part in setting.split() if not part.startswith(f"{name}."))


def values(setting: str, name: str) -> dict[str, Any]:
    """The fields of a method that a setting changes, as they were given."""
    parts = (part.removeprefix(f"{name}.").partition("=") for part in of(setting, name).split())
    return {field: _value(text) for field, _, text in parts}


def of_victims(board: pd.DataFrame) -> list[str]:
    """The clean set by which each row's victim goes: cells of several clean sets share theirs.

    Args:
        board: `defense`, `clean_set` and `setting`.
    """
    rows = zip(board["defense"], board["clean_set"], board["setting"], strict=True)
    return [_of_victim(*map(str, row)) for row in rows]


def _of_victim(defense: str, own: str, setting: str) -> str:
    if not layout.clean_set_of(defense):
        return own
    return KEPT if own != "seen" or BESIDE in values(setting, defense) else own


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
