"""params.yaml as plain values, read with distrust: what comes out is what JSON can hold."""

from __future__ import annotations

import math
import os
import unicodedata
from pathlib import Path
from typing import Any

import yaml

from bdb.errors import ParamsError, short

MAX_BYTES = 1 << 17
MAX_DEPTH = 16
MAX_TEXT = 4096

# Line breaks, control characters and halves of surrogate pairs: they spoil messages and files.
_UNWRITABLE = {"Cc", "Cs", "Zl", "Zp"}


def read(path: Path) -> Any:
    """Read a YAML file; numbers out of range and the like are left to `check`.

    Raises:
        ParamsError: one line on what is wrong with the file.
    """
    return parse(text(path), str(path))


def parse(text: str, where: str) -> Any:
    """The same of what a file holds; `where` is its name in messages."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ParamsError(f"{where}:{line} {problem}") from None
    except RecursionError:
        raise ParamsError(f"{where}: nested deeper than {MAX_DEPTH} levels") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{where}: not YAML ({str(error).splitlines()[0]})") from None


def check(value: Any, where: str) -> None:
    """Refuse what a parameter file has no use for, wherever it stands.

    Raises:
        ParamsError: one line on the first such value.
    """
    _check(value, where, ())


class _Loader(yaml.SafeLoader):
    """YAML without aliases, repeated keys, and keys that are no scalars."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="an alias; write the value out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:  # constructors raise whatever an odd value leads them to
            problem = f"{short(node.value)} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key that is no name", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {short(key.value)} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def text(path: Path) -> str:
    """What a file holds, as it stands there.

    Raises:
        ParamsError: it is missing, none, too large, or no text.
    """
    try:
        if not path.is_file():
            if os.path.lexists(path):
                raise ParamsError(
                    f"{path}: not a file; `bdb preset demo` writes one once it is gone"
                )
            raise ParamsError(f"{path}: no such file; `bdb preset demo` puts one in place")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise ParamsError(f"{path}: larger than the {MAX_BYTES} bytes that are read")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ParamsError(f"{path}: not UTF-8 text") from None


def _check(value: Any, where: str, place: tuple[str, ...]) -> None:
    if len(place) > MAX_DEPTH:
        raise ParamsError(f"{where}: {'.'.join(place)}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or _flaw(key):
                inside = f" in {'.'.join(place)}" if place else ""
                raise ParamsError(f"{where}: key {short(key)}{inside} is no name; keys are text")
            _check(inner, where, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check(inner, where, (*place, str(number)))
    elif flaw := _flaw(value):
        raise ParamsError(f"{where}: {'.'.join(place)}: {short(value)} is not allowed: {flaw}")


def _flaw(value: Any) -> str:
    """What is wrong with a scalar, if anything is."""
    match value:
        case None | bool():
            return ""
        case int():
            return "" if abs(value) < 2**63 else "no number here is that large"
        case float():
            return "" if math.isfinite(value) else "not a finite number"
        case str():
            if len(value) > MAX_TEXT:
                return f"longer than {MAX_TEXT} characters"
            spoilt = any(unicodedata.category(letter) in _UNWRITABLE for letter in value)
            return "it has control characters" if spoilt else ""
    return f"a {type(value).__name__} has no place here; put text in quotes"
