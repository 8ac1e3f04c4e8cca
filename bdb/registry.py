"""Methods by kind and name: one decorator registers, the package's own files are found by walking.

A method in another package is found through the entry-point groups `bdb.attacks`, `bdb.defenses`,
`bdb.analyses`, `bdb.datasets` and `bdb.models`; an entry point names the module that registers it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from bdb.errors import RegistryError, unknown
from bdb.layout import CLEAN_ATTACK, control_of, is_control
from bdb.method import METHOD, Method

PACKAGES = {
    "attack": "bdb.attacks",
    "defense": "bdb.defenses",
    "analysis": "bdb.analyses",
    "dataset": "bdb.datasets",
    "model": "bdb.models",
}

_registered: dict[str, dict[str, type[Method]]] = {kind: {} for kind in PACKAGES}

NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")

M = TypeVar("M", bound=type[Method])


def register(name: str) -> Callable[[M], M]:
    """Register a class under its kind's `name`.

    Raises:
        RegistryError: another class has this name, or it cannot stand in paths; or a field is
            called `method`, or an attack has the name of a control.
    """

    def decorate(cls: M) -> M:
        if not NAME.fullmatch(name):
            raise RegistryError(
                f"{cls.kind} {name!r} of {_place(cls)}: a name is made of a-z, 0-9 and _, "
                "for it stands in paths"
            )
        if cls.kind == "attack" and is_control(name) and name != CLEAN_ATTACK:
            raise RegistryError(
                f"attack {name!r} of {_place(cls)}: names that begin with "
                f"{control_of('')!r} are of controls; choose another"
            )
        method: type[Method] = cls
        if METHOD in method.model_fields:
            raise RegistryError(
                f"{cls.kind} {name!r} of {_place(cls)}: field {METHOD!r} is how params.yaml names "
                "an instance of a method; call it otherwise"
            )
        table = _registered[cls.kind]
        known = table.get(name)
        if known is not None and _place(known) != _place(cls):
            raise RegistryError(
                f"{cls.kind} {name!r} is registered by {_place(known)} and {_place(cls)}; "
                "give one of them another name"
            )
        cls.name = name
        table[name] = cls
        return cls

    return decorate


def get(kind: str, name: str) -> type[Method]:
    """The class registered as `name`.

    Raises:
        RegistryError: there is none; the message gives the nearest name.
    """
    _load(kind)
    try:
        return _registered[kind][name]
    except KeyError:
        raise RegistryError(unknown(kind, name, _registered[kind])) from None


def names(kind: str, pattern: str = "*") -> list[str]:
    """The registered names that match a glob, sorted."""
    _load(kind)
    return sorted(name for name in _registered[kind] if fnmatchcase(name, pattern))


def plugins(kind: str) -> list[EntryPoint]:
    """The entry points through which other packages offer methods of this kind."""
    return sorted(entry_points(group=PACKAGES[kind]), key=lambda point: (point.name, point.value))


@cache
def _load(kind: str) -> None:
    package = importlib.import_module(PACKAGES[kind])
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if all(part.isidentifier() for part in module.name.split(".")):
            importlib.import_module(module.name)
    for point in plugins(kind):
        _load_plugin(point)


def _load_plugin(point: EntryPoint) -> None:
    try:
        importlib.import_module(point.module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{point.module}.".startswith(f"{error.name}."):
            raise
        package = f" of {point.dist.name}" if point.dist else ""
        raise RegistryError(
            f"entry point {point.name!r}{package} in {point.group}: there is no module "
            f"{error.name!r}; install it, or remove the package"
        ) from None


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
