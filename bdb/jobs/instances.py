"""Instances: names that params.yaml gives to a method under fields of its own.

`badnets_3_5: {method: badnets, target: 5}` stands on the grid, in paths and on the board beside
`badnets`. It starts from the method's defaults: what params.yaml changes in `badnets` itself does
not concern it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from bdb import layout, registry
from bdb.errors import ParamsError, short, unknown
from bdb.jobs.catalogue import Catalogue
from bdb.method import METHOD

# They stand beside methods' names in paths and in the board's settings.
_TAKEN = frozenset({layout.ANY_MODEL, layout.CLEAN_MODEL, "training", "clean_set"})


def named(section: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The instances that a section of params.yaml names, and the method of each."""
    return {name: str(fields[METHOD]) for name, fields in section.items() if METHOD in fields}


def check(
    section: Mapping[str, Mapping[str, Any]], catalogue: Catalogue, kind: str, where: str
) -> None:
    """See that instances are of methods that exist, and have names of their own.

    Args:
        section: what params.yaml says of a kind's methods.
        catalogue: with the instances of other kinds, where those have been checked before.
        kind: of the methods.
        where: the section, for messages.

    Raises:
        ParamsError: one line on the first that is wrong.
    """
    known = catalogue.entries[kind]
    for name in named(section):
        method = section[name][METHOD]
        if not isinstance(method, str) or method not in known:
            raise ParamsError(f"{where}.{name}.{METHOD}: {unknown(kind, method, known)}")
        is_clean = method == layout.CLEAN_ATTACK
        taken = {*known, *section}
        reason = _why_no_clean(name, taken) if is_clean else _why_not_attacked(name)
        reason = reason or _why_no_name(name, catalogue)
        if reason:
            raise ParamsError(f"{where}: {short(name)} cannot name an instance: {reason}")


def _why_no_clean(name: str, attacks: Container[str]) -> str | None:
    """Why it cannot name clean models that are trained in a way of their own."""
    first = layout.control_of("")
    if not name.startswith(first):
        return f"names of clean models begin with {first!r}; choose {first}{name}"
    lender = name.removeprefix(first)
    if lender in attacks:
        return f"the name is that of the control that joins {lender} by itself; choose another"
    return None


def _why_not_attacked(name: str) -> str | None:
    return (
        "names that begin so are of controls; choose another" if layout.is_control(name) else None
    )


def _why_no_name(name: str, catalogue: Catalogue) -> str | None:
    if not registry.NAME.fullmatch(name):
        return "a name is made of a-z, 0-9 and _, for it stands in paths"
    holders = [kind for kind, table in catalogue.entries.items() if name in table]
    if holders:
        return f"the name is that of the {holders[0]} {name}; choose another, as in {name}_2"
    if name in _TAKEN:
        return f"the name has a meaning of its own; choose another, as in {name}_2"
    return None
