"""A setting as text: `name.field=value` for each field that is not as by default, with spaces."""

from __future__ import annotations

import json
from typing import Any


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


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
