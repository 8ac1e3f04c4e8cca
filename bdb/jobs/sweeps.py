"""Sweeps: how much a method's figures hang on each of its fields.

`ft_around: {method: ft, epochs: 20, vary: all}` stands for the instance `ft_around` itself and, on
the grid beside it, for two more of every field that is a number, one at half its value and one at
twice: `ft_around__epochs_half`, `ft_around__epochs_twice`. `vary` may also list fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from bdb.errors import ParamsError, short, unknown
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.method import METHOD

# The key in params.yaml that makes an instance a sweep; no method has such a field.
VARY = "vary"
FACTORS = {"half": 0.5, "twice": 2.0}
KINDS = {"attack": "attacks", "defense": "defenses"}


class Variation(NamedTuple):
    """An instance that differs from a sweep's own in one field.

    Attributes:
        of: the sweep's own instance.
        value: of the field; the sweep's own is `usual`.
    """

    kind: str
    name: str
    of: str
    field: str
    value: float
    usual: float


def expand(
    raw: Mapping[str, Any], catalogue: Catalogue, where: str
) -> tuple[dict[str, Any], tuple[Variation, ...]]:
    """Put the instances of every sweep beside it, in its section and on the grid.

    Args:
        raw: params.yaml as read; it stays as it is.
        catalogue: of the methods.
        where: the file, for messages.

    Returns:
        The same without `vary`, and what was added.

    Raises:
        ParamsError: `vary` names no field that is a number.
    """
    given = deepcopy(dict(raw))
    made: list[Variation] = []
    for kind, section in KINDS.items():
        table = given.get(section)
        if not isinstance(table, dict):
            continue
        for name, fields in list(table.items()):
            if isinstance(fields, dict) and VARY in fields:
                wanted = fields.pop(VARY)
                entry = _entry(catalogue, kind, name, fields, f"{where}: {section}.{name}")
                found = _variations(entry, name, fields, wanted, f"{where}: {section}.{name}")
                table |= {each.name: fields | {each.field: each.value} for each in found}
                _put_beside(given.get("grid"), kind, name, [each.name for each in found])
                made += found
    return given, tuple(made)


def _entry(
    catalogue: Catalogue, kind: str, name: str, fields: Mapping[str, Any], where: str
) -> Entry:
    method = fields.get(METHOD)
    if not isinstance(method, str):
        raise ParamsError(
            f"{where}.{VARY}: {short(name)} is no instance; name its method, `{METHOD}: ...`"
        )
    if method not in catalogue.entries[kind]:
        raise ParamsError(f"{where}.{METHOD}: {unknown(kind, method, catalogue.entries[kind])}")
    return catalogue.get(kind, method)


def _variations(
    entry: Entry, name: str, fields: Mapping[str, Any], wanted: Any, where: str
) -> list[Variation]:
    usual = {field: fields.get(field, entry.default(field)) for field in entry.schema["properties"]}
    numbers = {field: value for field, value in usual.items() if _is_number(value) and value}
    chosen = list(numbers) if wanted == "all" else wanted
    if not isinstance(chosen, list) or not chosen:
        raise ParamsError(f"{where}.{VARY}: {short(wanted)} is not allowed: 'all', or a list")
    for field in chosen:
        if field not in numbers:
            raise ParamsError(f"{where}.{VARY}: {unknown('number', field, numbers)}")
    return [
        Variation(entry.kind, f"{name}__{field}_{word}", name, field, value, numbers[field])
        for field in chosen
        for word, factor in FACTORS.items()
        if (value := _scaled(numbers[field], factor)) != numbers[field]
        and _is_allowed(entry, field, value)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _scaled(value: float, factor: float) -> float:
    """A whole number stays one."""
    return round(value * factor) if isinstance(value, int) else value * factor


def _is_allowed(entry: Entry, field: str, value: float) -> bool:
    """A field's range may end before its half, or its double."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(entry.schema["properties"][field]).is_valid(value)


def _put_beside(grid: Any, kind: str, name: str, names: list[str]) -> None:
    for product in grid if isinstance(grid, list) else [grid]:
        axis = product.get(kind) if isinstance(product, dict) else None
        if isinstance(axis, list) and name in axis:
            place = axis.index(name) + 1
            axis[place:place] = names
