"""params.yaml, validated: the grid, and what differs from the methods' defaults.

An error is one line: the key, its value, what is allowed, and the nearest valid name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Discriminator, Field, PrivateAttr, Strict, Tag, ValidationError

from bdb import layout, plain
from bdb.errors import ParamsError, short, unknown
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.method import Frozen
from bdb.training.recipes import RECIPES, Recipe

MAX_JOBS = 250_000

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_*?\[\]-]{1,64}$")]
Ratio = Annotated[float, Strict(), Field(ge=1e-9, lt=1)]
Ratios = Annotated[tuple[Ratio, ...], Field(min_length=1)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**31)]
Fields = dict[str, dict[str, Any]]
M = TypeVar("M", bound=BaseModel)

# The grid's axes that name methods, and the section that holds their fields.
AXES = {
    "dataset": "datasets",
    "model": "models",
    "attack": "attacks",
    "defense": "defenses",
    "analysis": "analyses",
}


# How the two forms of poison_ratio are told apart. Blanks keep the words out of any name's way.
_EVERY, _BY_ATTACK = "every attack", "by attack"
PoisonRatio = Annotated[
    Annotated[Ratios, Tag(_EVERY)] | Annotated[dict[Name, Ratios], Tag(_BY_ATTACK)],
    Discriminator(lambda value: _BY_ATTACK if isinstance(value, dict) else _EVERY),
]


class Grid(Frozen):
    """The cross product that is run; `*` and `?` in a name stand for every method that matches.

    Poison ratios are a list for every attack, or lists by attack, of which the last that matches
    counts: `{'*': [0.1], sig: [0.05]}`.
    """

    dataset: tuple[Name, ...] = Field(min_length=1)
    model: tuple[Name, ...] = Field(min_length=1)
    attack: tuple[Name, ...] = Field(min_length=1)
    poison_ratio: PoisonRatio
    seed: tuple[Seed, ...] = Field(min_length=1)
    defense: tuple[Name, ...] = ()
    analysis: tuple[Name, ...] = ()

    def ratios(self, attack: str) -> tuple[float, ...]:
        """The poison ratios of an attack; none if no pattern matches it."""
        if not isinstance(self.poison_ratio, dict):
            return self.poison_ratio
        by_pattern = self.poison_ratio.items()
        matching = [ratios for pattern, ratios in by_pattern if fnmatchcase(attack, pattern)]
        return matching[-1] if matching else ()


class CleanSet(Frozen):
    """The defender's clean images: kept from the victim (`reserved`), or part of its training."""

    source: Literal["reserved", "seen"] = "reserved"
    fraction: Annotated[float, Strict(), Field(ge=0, lt=1)] | None = Field(
        None, description="share of the training set; the data set's own if left out"
    )


class Training(Frozen):
    """A named recipe, and the fields of it that the user changes."""

    recipe: Literal["paper", "fast"] = "fast"
    overrides: dict[str, Any] = Field(default_factory=dict)


class Settings(Frozen):
    """All of params.yaml."""

    grid: Grid
    datasets: Fields = Field(default_factory=dict)
    models: Fields = Field(default_factory=dict)
    attacks: Fields = Field(default_factory=dict)
    defenses: Fields = Field(default_factory=dict)
    analyses: Fields = Field(default_factory=dict)
    training: Training = Training()
    clean_set: CleanSet = CleanSet()
    keep_defended_models: Annotated[bool, Strict()] = True

    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    def literal(self, key: str) -> Any:
        """What stands in params.yaml under a dotted key, or None: what both engines compare."""
        value: Any = self._raw
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def fields(self, kind: str, name: str) -> dict[str, Any]:
        """What params.yaml changes in a method."""
        section: Fields = getattr(self, AXES[kind])
        return section.get(name, {})


def load(catalogue: Catalogue, path: Path = layout.PARAMS) -> Settings:
    """Read and check params.yaml.

    Raises:
        ParamsError: one line on the first thing that is wrong.
    """
    return parse(plain.read(path), catalogue, str(path))


def parse(raw: Any, catalogue: Catalogue, where: str = "params.yaml") -> Settings:
    """Check parameters that have been read already."""
    if not isinstance(raw, dict):
        raise ParamsError(f"{where}: holds no keys; `bdb preset demo` puts a working file in place")
    plain.check(raw, where)
    given = dict(raw)
    if isinstance(raw.get("training"), dict):
        given["training"] = _training(raw["training"], where)
    settings = _validate(Settings, given, where)
    grid = _expand(settings.grid, catalogue, where)
    settings = settings.model_copy(update={"grid": grid})
    settings._raw = raw
    for kind, section in AXES.items():
        _check_methods(getattr(settings, section), catalogue, kind, f"{where}: {section}")
    _check_clean_set(settings, catalogue, where)
    for name, fields in settings.datasets.items():
        field = catalogue.get("dataset", name).capabilities.get("raw_field") or ""
        layout.expand(fields.get(field, ""), f"{where}: datasets.{name}.{field}")
    return settings


def format_ratio(ratio: float) -> str:
    """A ratio as it stands in paths: `0.1`, never `1e-01`."""
    return f"{Decimal(repr(float(ratio))).normalize():f}"


def _training(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    overrides = {key: value for key, value in raw.items() if key != "recipe"}
    name = raw.get("recipe", "fast")
    if not isinstance(name, str) or name not in RECIPES:
        raise ParamsError(f"{where}: training.{unknown('recipe', name, RECIPES)}")
    fields = RECIPES[name].model_dump() | overrides
    _validate(Recipe, fields, f"{where}: training", strict=True)
    return {"recipe": name, "overrides": overrides}


_PLAINER = {
    "dict_type": "it should be a mapping, `key: value`",
    "model_type": "it should be a mapping, `key: value`",
    "tuple_type": "it should be a list, `- value`",
}


def _validate(model: type[M], raw: Any, where: str, strict: bool | None = None) -> M:
    try:
        return model.model_validate(raw, strict=strict)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in (_EVERY, _BY_ATTACK))
        if first["type"] == "extra_forbidden":
            known = _siblings(model, first["loc"])
            raise ParamsError(f"{where}: {unknown('key', key, known)}") from None
        value = "" if first["type"] == "missing" else f" {short(first['input'])} is not allowed:"
        message = _PLAINER.get(first["type"], first["msg"][0].lower() + first["msg"][1:])
        raise ParamsError(
            f"{where}: {key}:{value} {message}{_number_as_text(first['input'])}"
        ) from None


def _siblings(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where an unknown one stands, with the path in front."""
    for part in place[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return [".".join((*map(str, place[:-1]), name)) for name in model.model_fields]


def _number_as_text(value: Any) -> str:
    """YAML takes `1e-3` for text, which nobody expects who writes it."""
    if not isinstance(value, str) or not re.fullmatch(r"[+-]?[0-9]+[.]?[0-9]*e[+-]?[0-9]+", value):
        return ""
    digits, _, exponent = value.partition("e")
    return f"; YAML needs {digits if '.' in digits else digits + '.0'}e{int(exponent):+d}"


def _expand(grid: Grid, catalogue: Catalogue, where: str) -> Grid:
    """Replace globs by the names they match, and refuse names that are not known or repeated."""
    axes: dict[str, tuple[Any, ...]] = {}
    for kind in AXES:
        axis: list[str] = []
        for pattern in getattr(grid, kind):
            matches = catalogue.names(kind, pattern)
            if not matches:
                known = catalogue.names(kind)
                raise ParamsError(f"{where}: grid.{kind}: {unknown(kind, pattern, known)}")
            is_glob = any(character in pattern for character in "*?[")
            axis += [name for name in matches if not (is_glob and name in axis)]
        axes[kind] = tuple(axis)
    for name, values in (axes | {"seed": grid.seed}).items():
        _check_unique(values, f"{where}: grid.{name}")
    grid = grid.model_copy(update=axes)
    _check_ratios(grid, catalogue, f"{where}: grid.poison_ratio")
    _check_size(grid, where)
    return grid


def _check_unique(values: tuple[Any, ...], where: str) -> None:
    if len(set(values)) < len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise ParamsError(f"{where}: {twice} stands twice; name it once")


def _check_ratios(grid: Grid, catalogue: Catalogue, where: str) -> None:
    for pattern in grid.poison_ratio if isinstance(grid.poison_ratio, dict) else ():
        if not catalogue.names("attack", pattern):
            raise ParamsError(f"{where}: {unknown('attack', pattern, catalogue.names('attack'))}")
    for attack in grid.attack:
        _check_unique(grid.ratios(attack), where)
        if not grid.ratios(attack) and catalogue.get("attack", attack).can("poisons"):
            raise ParamsError(f"{where}: has none for {attack}; add {attack!r} or '*'")


def _check_size(grid: Grid, where: str) -> None:
    """Refuse a grid whose plan would fill the memory."""
    attacked = sum(len(grid.ratios(attack)) or 1 for attack in grid.attack)
    runs = attacked * prod(len(axis) for axis in (grid.dataset, grid.model, grid.seed))
    jobs = runs * (1 + len(grid.defense) + len(grid.analysis))
    if jobs > MAX_JOBS:
        raise ParamsError(
            f"{where}: grid: {jobs} jobs are more than the {MAX_JOBS} that can be planned; "
            "shorten an axis"
        )


def _check_methods(section: Fields, catalogue: Catalogue, kind: str, where: str) -> None:
    for name, fields in section.items():
        known = catalogue.entries[kind]
        if name not in known:
            raise ParamsError(f"{where}: {unknown(kind, name, known)}")
        check_fields(known[name], fields, f"{where}.{name}")


def check_fields(entry: Entry, fields: Mapping[str, Any], where: str) -> None:
    """Check a method's fields against its schema.

    Raises:
        ParamsError: one line on the first that is wrong.
    """
    from jsonschema import Draft202012Validator

    for name in fields:
        if name not in entry.schema["properties"]:
            known = entry.schema["properties"]
            raise ParamsError(f"{where}: {unknown('key', name, known)}")
    validator = Draft202012Validator(entry.schema)
    for error in sorted(validator.iter_errors(dict(fields)), key=lambda e: list(map(str, e.path))):
        key = ".".join(str(part) for part in error.absolute_path)
        raise ParamsError(f"{where}.{key}: {_allowed(error)}{_number_as_text(error.instance)}")


def _allowed(error: Any) -> str:
    """What a schema says of a value, without the schema."""
    if error.validator == "anyOf" and error.context:
        error = error.context[0]
    said, value = str(error.message), repr(error.instance)
    return said.replace(value, short(error.instance)) if len(value) > len(said) // 2 else said


def _check_clean_set(settings: Settings, catalogue: Catalogue, where: str) -> None:
    if settings.clean_set.fraction != 0:
        return
    for name in settings.grid.defense:
        if "clean_set" in catalogue.get("defense", name).can("needs"):
            raise ParamsError(
                f"{where}: clean_set.fraction: 0 is not allowed: defense {name!r} needs clean "
                "images; raise it, or leave the defense out"
            )
