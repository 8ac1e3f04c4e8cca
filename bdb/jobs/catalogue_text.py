"""The catalogue in words: `bdb list`, `bdb show`, and the docs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bdb.errors import ParamsError, unknown
from bdb.jobs.catalogue import Catalogue, Entry

_RANGES = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "at least {} items",
    "pattern": "matches {}",
}


def listing(catalogue: Catalogue, kind: str, pattern: str) -> str:
    """A line per method.

    Raises:
        ParamsError: the kind is not known, or nothing matches.
    """
    if kind and kind not in catalogue.entries:
        raise ParamsError(unknown("kind", kind, catalogue.entries))
    found = [
        catalogue.get(each, name)
        for each in ([kind] if kind else catalogue.entries)
        for name in catalogue.names(each, pattern)
    ]
    if not found:
        raise ParamsError(unknown(kind or "method", pattern, _all_names(catalogue, kind)))
    width = max(len(entry.name) for entry in found)
    return "\n".join(f"{entry.kind:<8}  {entry.name:<{width}}  {entry.summary}" for entry in found)


def description(catalogue: Catalogue, method: str) -> str:
    """One method in full.

    Raises:
        ParamsError: there is none of this name.
    """
    return "\n\n".join("\n".join(_describe(entry)) for entry in _find(catalogue, method))


def markdown(catalogue: Catalogue) -> str:
    """Every method, as a page of the docs."""
    lines = ["# Methods", "", "Made by `bdb docs` from the registry; do not edit."]
    for kind, table in catalogue.entries.items():
        lines += ["", f"## {kind.capitalize()}"]
        for entry in table.values():
            lines += ["", f"### `{entry.name}`", "", entry.summary]
            lines += ["", *_paper(entry)] if entry.paper else []
            lines += ["", *_markdown_capabilities(entry), "", *_markdown_fields(entry)]
    return "\n".join(lines).rstrip() + "\n"


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
