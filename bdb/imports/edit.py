"""Putting values into a YAML file that somebody keeps: its comments and its order stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from bdb import artifacts, params, plain
from bdb.errors import ParamsError
from bdb.jobs import catalogue

_INDENT = 2


Change = tuple[str, str, Any]  # section, key, value


def put(lines: Mapping[str, Mapping[str, Any]], path: Path) -> list[str]:
    """Put sections into params.yaml: what is there already stays, and lists get what they lack.

    Args:
        lines: values by section and key. A value that is no list takes the place of one that is
            there and differs.
        path: of the file.

    Returns:
        What was changed, in words; empty if nothing was to be done, and the file is the same.

    Raises:
        ParamsError: the file will not do, or would not with these values: it is left as it is.
    """
    known, text = catalogue.load(), plain.text(path)
    before = plain.parse(text, str(path))
    params.parse(before, known, str(path))
    for section in lines:
        if isinstance(before.get(section), list):
            raise ParamsError(
                f"{path}: {section} is a list: put the lines by hand where they belong"
            )
    changes = list(_changes(before, lines))
    wanted = _merged(before, changes)
    params.parse(wanted, known, str(path))
    if changes:
        artifacts.write_text(path, _rewritten(text, changes, wanted, path))
    return [_said(each, before) for each in changes]


def _rewritten(text: str, changes: list[Change], wanted: dict[str, Any], path: Path) -> str:
    """The text with all changes in it, seen to hold what is wanted and nothing else."""
    try:
        for change in changes:
            text = _edited(text, *change)
        if plain.parse(text, str(path)) == wanted:
            return text
    except (yaml.YAMLError, ParamsError):
        pass
    raise ParamsError(f"{path}: written in a way that cannot be edited: put the lines by hand")


def _changes(before: Mapping[str, Any], lines: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
    """What is not there yet, by section and key; of a list what is to be added."""
    for section, values in lines.items():
        held = before.get(section) or {}
        for key, value in values.items():
            there = held.get(key)
            if isinstance(value, list) and isinstance(there, list):
                value = [each for each in value if not _is_in(each, there)]
                if not value:
                    continue
            if there != value:
                yield section, key, value


def _is_in(item: Any, items: list[Any]) -> bool:
    """Whether a list has it; a name on the grid may be a pattern."""
    return any(fnmatchcase(str(item), str(each)) for each in items)


def _said(change: Change, before: Mapping[str, Any]) -> str:
    """A change in words, with the value that was there."""
    section, key, value = change
    was = (before.get(section) or {}).get(key)
    replaced = "" if was is None or isinstance(value, (list, dict)) else f", no longer {_flow(was)}"
    return f"{section}.{key}: {_flow(value)}{replaced}"


def _merged(before: Mapping[str, Any], changes: list[Change]) -> dict[str, Any]:
    after = dict(before)
    for section, key, value in changes:
        held = dict(after.get(section) or {})
        there = held.get(key)
        both = isinstance(value, list) and isinstance(there, list)
        held[key] = [*(there or ()), *value] if both else value
        after[section] = held
    return after


def _edited(text: str, section: str, key: str, value: Any) -> str:
    """The text with one change in it."""
    top: Any = yaml.compose(text, yaml.SafeLoader)
    name, held = _pair(top, section)
    if held is None:
        return _added(text, top, {section: {key: value}})
    if not held.value and not top.flow_style:
        return _filled(text, name, held, {key: value})
    name, there = _pair(held, key)
    if there is None:
        return _added(text, held, {key: value})
    if isinstance(value, list) and isinstance(there, yaml.SequenceNode):
        return _appended(text, there, value)
    return _replaced(text, there, value)


def _pair(mapping: Any, key: str) -> tuple[Any, Any]:
    """The nodes of a key and its value."""
    return next((pair for pair in mapping.value if pair[0].value == key), (None, None))


def _added(text: str, mapping: Any, entry: dict[str, Any]) -> str:
    """One more key of a mapping that has some."""
    if mapping.flow_style:
        return _within(text, mapping, _flow(entry)[1:-1])
    return _after(text, mapping, _block(entry, mapping.start_mark.column))


def _appended(text: str, sequence: Any, items: list[Any]) -> str:
    """More items of a list."""
    if sequence.flow_style:
        return _within(text, sequence, _flow(items)[1:-1])
    return _after(text, sequence, _block(items, sequence.start_mark.column))


def _filled(text: str, name: Any, empty: Any, entry: dict[str, Any]) -> str:
    """A key's first entry, in place of `{}`."""
    start, end = name.end_mark.index, empty.end_mark.index
    text = f"{text[:start]}:{text[end:]}"
    return _after(text, name, _block(entry, name.start_mark.column + _INDENT))


def _replaced(text: str, node: Any, value: Any) -> str:
    """Another value of a key that has one."""
    start, end = node.start_mark.index, _end(text, node)
    is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    new = _block(value, node.start_mark.column).strip() if is_block else _flow(value)
    return f"{text[:start]}{'' if text[:start].endswith(' ') else ' '}{new}{text[end:]}"


def _within(text: str, flow: Any, more: str) -> str:
    """Before the closing bracket."""
    at = flow.end_mark.index - 1
    return f"{text[:at]}{', ' if flow.value else ''}{more}{text[at:]}"


def _after(text: str, node: Any, lines: str) -> str:
    """Below the last line of a node, and what else stands on that."""
    at = text.find("\n", _end(text, node))
    at = len(text) if at < 0 else at
    return f"{text[:at]}\n{lines}{text[at:]}"


def _end(text: str, node: Any) -> int:
    """Where a node's own text ends: a block's mark stands behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        name, value = last if isinstance(last, tuple) else (last, last)
        return max(_end(text, name), _end(text, value))
    return len(text[: node.end_mark.index].rstrip())


def _block(value: Any, column: int) -> str:
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
    return "\n".join(" " * column + line for line in text.splitlines())


def _flow(value: Any) -> str:
    """On one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").strip()
