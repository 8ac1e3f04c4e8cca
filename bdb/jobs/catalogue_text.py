"""The catalogue in words: `bdb list`, `bdb show`, and the docs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from bdb import registry
from bdb.errors import ParamsError, unknown
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.jobs.threat import threat

_RANGES = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "at least {} items",
    "pattern": "matches {}",
}


# In the order of the pipeline. A room is a sub-package, and the value of one class variable.
ROOMS = {
    "means": ("control", "data_poisoning", "training_controlled", "model_editing", "brought"),
    "stage": ("pre_training", "in_training", "post_training", "inference", "model_level"),
    "subject": ("data", "predictions", "features", "neurons", "attribution", "landscape"),
}
_ROOMS = ("", *chain.from_iterable(ROOMS.values()))


def listing(catalogue: Catalogue, kind: str, pattern: str, **wanted: str) -> str:
    """Every method on a line, by room: name, needs, paper, summary.

    Args:
        catalogue: of all methods.
        kind: all kinds if empty.
        pattern: a glob of names.
        wanted: values of `means`, `stage` or `subject`; any if empty.

    Raises:
        ParamsError: the kind or the room is not known, or nothing matches.
    """
    if kind and kind not in catalogue.entries:
        raise ParamsError(unknown("kind", kind, catalogue.entries))
    rooms = {variable: room for variable, room in wanted.items() if room}
    for variable, room in rooms.items():
        if room not in ROOMS[variable]:
            raise ParamsError(unknown(f"--{variable}", room, ROOMS[variable]))
    kinds = [kind] if kind else list(catalogue.entries)
    named = [catalogue.get(each, name) for each in kinds for name in catalogue.names(each, pattern)]
    if not named:
        raise ParamsError(unknown(kind or "method", pattern, _all_names(catalogue, kind)))
    found = [entry for entry in named if rooms.items() <= entry.capabilities.items()]
    if not found:
        asked = " ".join(f"--{variable} {room}" for variable, room in rooms.items())
        raise ParamsError(f"{asked}: no {kind or 'method'} that matches {pattern!r} is there")
    groups = (_table(*group) for group in by_room(found).items())
    return "\n\n".join("\n".join(lines) for lines in groups)


def by_room(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries under the titles of their rooms, kinds in the registry's order."""
    kinds = list(registry.PACKAGES)
    groups: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda e: (kinds.index(e.kind), _place(e), e.name)):
        groups.setdefault(f"{entry.kind} {entry.room}".strip(), []).append(entry)
    return groups


def _place(entry: Entry) -> int:
    """A room that another package has made up comes last."""
    return _ROOMS.index(entry.room) if entry.room in _ROOMS else len(_ROOMS)


def _table(title: str, entries: list[Entry]) -> Iterator[str]:
    yield title
    rows = [(entry.name, _needs(entry), _cited(entry), entry.summary) for entry in entries]
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells).rstrip()}"


def _needs(entry: Entry) -> str:
    return " ".join(entry.capabilities.get("needs", ()))


def _cited(entry: Entry) -> str:
    """The first author and the year."""
    if not entry.paper:
        return ""
    return f"{entry.paper['authors'].partition(',')[0]} {entry.paper['year']}"


def description(catalogue: Catalogue, method: str) -> str:
    """One method in full.

    Raises:
        ParamsError: there is none of this name.
    """
    return "\n\n".join("\n".join(_describe(entry)) for entry in _find(catalogue, method))


def markdown(catalogue: Catalogue) -> str:
    """Every method, as a page of the docs."""
    groups = by_room(entry for table in catalogue.entries.values() for entry in table.values())
    lines = ["# Methods", "", "Made by `bdb docs` from the registry; do not edit."]
    for title, entries in groups.items():
        lines += ["", f"## {_heading(title)}", "", *_overview(entries)]
        for entry in entries:
            lines += ["", f"### `{entry.name}`", "", entry.summary]
            lines += ["", *_paper(entry)] if entry.paper else []
            lines += ["", threat(entry)] if threat(entry) else []
            lines += ["", entry.differs] if entry.differs else []
            lines += ["", *_markdown_capabilities(entry), "", *_markdown_fields(entry)]
    return "\n".join(lines).rstrip() + "\n"


def _heading(title: str) -> str:
    kind, _, room = title.partition(" ")
    return f"{kind.capitalize()}: {room.replace('_', ' ')}" if room else kind.capitalize()


def _overview(entries: list[Entry]) -> Iterator[str]:
    yield "| name | needs | published | |"
    yield "| --- | --- | --- | --- |"
    for entry in entries:
        cells = (f"[`{entry.name}`](#{entry.name})", _needs(entry), _cited(entry), entry.summary)
        yield f"| {' | '.join(cells)} |"


def _find(catalogue: Catalogue, method: str) -> list[Entry]:
    kind, _, name = method.rpartition("/")
    if kind and kind not in catalogue.entries:
        raise ParamsError(unknown("kind", kind, catalogue.entries))
    kinds = [kind] if kind else list(catalogue.entries)
    found = [catalogue.entries[k][name] for k in kinds if name in catalogue.entries[k]]
    if not found:
        raise ParamsError(unknown(kind or "method", name, _all_names(catalogue, kind)))
    return found


def _all_names(catalogue: Catalogue, kind: str) -> list[str]:
    kinds = [kind] if kind else list(catalogue.entries)
    return [name for each in kinds for name in catalogue.names(each)]


def _describe(entry: Entry) -> Iterator[str]:
    yield f"{entry.kind} {entry.name}: {entry.summary}"
    if entry.paper:
        yield from _paper(entry)
    if threat(entry):
        yield threat(entry)
    if entry.differs:
        yield entry.differs
    yield ""
    for name, value in entry.capabilities.items():
        yield f"  {name}: {_value(value)}"
    yield ""
    yield f"fields (params.yaml: {_section(entry)}):"
    for name, text in _fields(entry):
        yield f"  {name}: {text}"


def _section(entry: Entry) -> str:
    from bdb.params import AXES

    return f"{AXES[entry.kind]}.{entry.name}"


def _paper(entry: Entry) -> list[str]:
    paper = entry.paper or {}
    lines = [f"{paper['authors']}: {paper['title']}. {paper['venue']} {paper['year']}."]
    return [*lines, paper["url"]] if paper.get("url") else lines


def _fields(entry: Entry) -> Iterator[tuple[str, str]]:
    for name, schema in entry.schema.get("properties", {}).items():
        kind, ranges = _type(schema, entry.schema)
        default = f"= {_value(schema['default'])}" if "default" in schema else "required"
        parts = [f"{kind} {default}", ranges, schema.get("description", "")]
        yield name, "; ".join(part for part in parts if part)


def _type(schema: dict[str, Any], root: dict[str, Any]) -> tuple[str, str]:
    """A field's type and range in words."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        parts = [_type(part, root) for part in schema["anyOf"]]
        return " or ".join(kind for kind, _ in parts), ", ".join(r for _, r in parts if r)
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"])), ""
    if "const" in schema:
        return str(schema["const"]), ""
    kind = schema.get("type", "value")
    if kind == "array":
        items = schema.get("items", {})
        kind = f"list of {items.get('type', 'value')}"
    ranges = [text.format(schema[key]) for key, text in _RANGES.items() if key in schema]
    return kind, ", ".join(ranges)


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    return json.dumps(value)


def _markdown_capabilities(entry: Entry) -> list[str]:
    facts = (f"{name}: {_value(value)}" for name, value in entry.capabilities.items())
    return ["; ".join(facts)]


def _markdown_fields(entry: Entry) -> list[str]:
    rows = [f"| `{name}` | {text} |" for name, text in _fields(entry)]
    return ["| field | type, default, range |", "| --- | --- |", *rows] if rows else ["No fields."]
