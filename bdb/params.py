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
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, Discriminator, Field, PrivateAttr, Strict, Tag, ValidationError

from bdb import layout, plain, registry
from bdb.errors import ParamsError, short, unknown
from bdb.jobs import instances, sweeps
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.jobs.sweeps import Variation
from bdb.method import METHOD, Frozen, Method
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
    """A cross product that is run; `*` and `?` in a name stand for every one that matches.

    Names are those of methods, and of the instances of methods that params.yaml names itself.

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


# How one product and a list of several are told apart.
_ONE, _SEVERAL = "one product", "several products"
Products = Annotated[
    Annotated[Grid, Tag(_ONE)]
    | Annotated[Annotated[tuple[Grid, ...], Field(min_length=1)], Tag(_SEVERAL)],
    Discriminator(lambda value: _SEVERAL if isinstance(value, (list, tuple)) else _ONE),
]


class CleanSet(Frozen):
    """The defender's clean images.

    Kept from the victim (`reserved`), part of its training (`seen`), or from elsewhere (`ood`):
    those that are kept from it, shifted, or as many of a second data set with the same classes.
    """

    source: Literal["reserved", "seen", "ood"] = "reserved"
    fraction: Annotated[float, Strict(), Field(ge=0, lt=1)] | None = Field(
        None, description="share of the training set; the data set's own if left out"
    )
    severity: Annotated[float, Strict(), Field(gt=0, le=1)] = Field(
        0.5, description="ood: how far brightness, contrast, blur or noise shift an image"
    )
    dataset: Annotated[str, Strict()] = Field(
        "",
        description="ood: the data set to draw from; if empty, the own, shifted",
    )

    @property
    def kind(self) -> str:
        """What it is, its size apart: `seen`, `reserved`, `ood`, `ood-mnist`, `ood-shift0.7`."""
        if self.dataset:
            return f"{self.source}-{self.dataset}"
        is_usual = self.source != "ood" or self.severity == CleanSet().severity
        return self.source if is_usual else f"{self.source}-shift{format_ratio(self.severity)}"

    @property
    def name(self) -> str:
        """What tells it from others in paths and on the board: `seen-0.05`."""
        return self.kind if self.fraction is None else f"{self.kind}-{format_ratio(self.fraction)}"

    def share(self, dataset: Entry) -> float:
        """The share of a training set that it holds."""
        return float(dataset.can("clean_fraction") if self.fraction is None else self.fraction)


# How one clean set and a list of several are told apart.
_ONE_SET, _SETS = "one clean set", "several clean sets"
CleanSets = Annotated[
    Annotated[CleanSet, Tag(_ONE_SET)]
    | Annotated[Annotated[tuple[CleanSet, ...], Field(min_length=1)], Tag(_SETS)],
    Discriminator(lambda value: _SETS if isinstance(value, (list, tuple)) else _ONE_SET),
]
_TAGS = frozenset({_EVERY, _BY_ATTACK, _ONE, _SEVERAL, _ONE_SET, _SETS})


class Training(Frozen):
    """A named recipe, and the fields of it that the user changes."""

    recipe: Literal["paper", "fast", "airbench"] = "fast"
    overrides: dict[str, Any] = Field(default_factory=dict)


class Validity(Frozen):
    """When an attack counts as failed: it is shown then, and kept out of every average."""

    min_asr: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        0.8, description="least ASR of the undefended victim"
    )
    max_c_acc_loss: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        0.03, description="most C-Acc that the victim may lose against its control"
    )


class Settings(Frozen):
    """All of params.yaml.

    Attributes:
        grid: one product, or several, whose union is planned.
        clean_set: one, or several, under each of which every defense that needs one is run.
    """

    grid: Products
    datasets: Fields = Field(default_factory=dict)
    models: Fields = Field(default_factory=dict)
    attacks: Fields = Field(default_factory=dict)
    defenses: Fields = Field(default_factory=dict)
    analyses: Fields = Field(default_factory=dict)
    training: Training = Training()
    clean_set: CleanSets = CleanSet()
    validity: Validity = Validity()
    keep_defended_models: Annotated[bool, Strict()] = True

    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)
    _variations: tuple[Variation, ...] = PrivateAttr(())

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The products whose union is planned."""
        return self.grid if isinstance(self.grid, tuple) else (self.grid,)

    @property
    def clean_sets(self) -> tuple[CleanSet, ...]:
        """The defender's clean sets, of which every cell is given one."""
        return self.clean_set if isinstance(self.clean_set, tuple) else (self.clean_set,)

    @property
    def keeps_images(self) -> bool:
        """Whether victims are not trained on all images: some are the defender's alone."""
        return any(each.source != "seen" for each in self.clean_sets)

    def clean_set_of(self, cell: str) -> CleanSet | None:
        """The clean set of a cell, by its name; None if it has none of several."""
        if len(self.clean_sets) == 1:
            return self.clean_sets[0]
        name = layout.clean_set_of(cell)
        return next((each for each in self.clean_sets if each.name == name), None)

    def deciding(self, dataset: Entry) -> CleanSet:
        """The clean set that decides which images victims are trained on: the largest kept one.

        All others leave victims as they are beside this one alone: smaller kept ones are parts of
        it, and what victims have seen is drawn from what it leaves.
        """
        kept = [each for each in self.clean_sets if each.source != "seen"]
        return max(kept or self.clean_sets[:1], key=lambda each: each.share(dataset))

    def reserved(self, dataset: Entry) -> float:
        """The share of a training set that is kept from its victims."""
        return self.deciding(dataset).share(dataset) if self.keeps_images else 0.0

    def axis(self, name: str) -> tuple[Any, ...]:
        """Every value of an axis in any product, in order."""
        return tuple(dict.fromkeys(value for grid in self.grids for value in getattr(grid, name)))

    def literal(self, key: str) -> Any:
        """What stands in params.yaml under a dotted key, or None: what both engines compare."""
        value: Any = self._raw
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def as_given(self, clean_set: CleanSet) -> dict[str, Any]:
        """What stands in params.yaml of a clean set."""
        raw = self._raw.get("clean_set", {})
        listed: list[dict[str, Any]] = raw if isinstance(raw, list) else [raw]
        return listed[self.clean_sets.index(clean_set)]

    def section(self, kind: str) -> Fields:
        """The fields of a kind's methods and instances, by name."""
        section: Fields = getattr(self, AXES[kind])
        return section

    @property
    def variations(self) -> tuple[Variation, ...]:
        """The instances that sweeps have put on the grid."""
        return self._variations

    @property
    def instances(self) -> dict[str, dict[str, str]]:
        """By kind and name, the method that each instance is one of."""
        return {kind: instances.named(self.section(kind)) for kind in AXES}

    def method(self, kind: str, name: str) -> str:
        """The registered method behind a name: its own, or that of which it is an instance."""
        return str(self.section(kind).get(name, {}).get(METHOD, name))

    def fields(self, kind: str, name: str) -> dict[str, Any]:
        """What params.yaml changes in a method, or in an instance of one."""
        given = self.section(kind).get(name, {})
        return {key: value for key, value in given.items() if key != METHOD}

    def value(self, entry: Entry, field: str) -> Any:
        """Of a field of a method or an instance: what params.yaml says, else its default."""
        return self.fields(entry.kind, entry.name).get(field, entry.default(field))

    def looks(self, tool: Entry) -> tuple[str, ...]:
        """The models that an analysis looks at: `victim`, `clean_model`, `defended`."""
        return ("defended",) if tool.can("scope") == "cell" else tuple(self.value(tool, "of"))

    def make(self, kind: str, name: str) -> Method:
        """The method behind a name, with its fields; imports torch.

        Raises:
            ParamsError: a field is out of range.
        """
        return registry.get(kind, self.method(kind, name)).make(**self.fields(kind, name))


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
    raw = _with_lone_clean_set(raw)
    raw, variations = sweeps.expand(raw, catalogue, where)
    given = dict(raw)
    if isinstance(raw.get("training"), dict):
        given["training"] = _training(raw["training"], where)
    settings = _validate(Settings, given, where)
    for kind, section in AXES.items():
        instances.check(settings.section(kind), catalogue, kind, f"{where}: {section}")
        catalogue = catalogue.with_instances({kind: settings.instances[kind]})
    settings = settings.model_copy(update={"grid": _expanded(settings, catalogue, where)})
    settings._raw, settings._variations = raw, variations
    for kind, section in AXES.items():
        _check_methods(settings, catalogue, kind, f"{where}: {section}")
    _check_clean_sets(settings, catalogue, where)
    for name, fields in settings.datasets.items():
        field = catalogue.get("dataset", name).capabilities.get("raw_field") or ""
        layout.expand(fields.get(field, ""), f"{where}: datasets.{name}.{field}")
    return settings


def _with_lone_clean_set(raw: dict[str, Any]) -> dict[str, Any]:
    """The same; a list of one clean set is that one."""
    match raw.get("clean_set"):
        case [lone]:
            return raw | {"clean_set": lone}
    return raw


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
        key = ".".join(str(part) for part in first["loc"] if part not in _TAGS)
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
    above = [part for part in place[:-1] if part not in _TAGS]
    for part in above:
        if isinstance(part, int):  # an entry of a list, whose model is known
            continue
        inner = _model_in(model.model_fields[part].annotation)
        if inner is None:
            return []
        model = inner
    return [".".join((*map(str, above), name)) for name in model.model_fields]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, one or many of it."""
    if isinstance(annotation, type) and not get_origin(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _number_as_text(value: Any) -> str:
    """YAML takes `1e-3` for text, which nobody expects who writes it."""
    if not isinstance(value, str) or not re.fullmatch(r"[+-]?[0-9]+[.]?[0-9]*e[+-]?[0-9]+", value):
        return ""
    digits, _, exponent = value.partition("e")
    return f"; YAML needs {digits if '.' in digits else digits + '.0'}e{int(exponent):+d}"


def _expanded(settings: Settings, catalogue: Catalogue, where: str) -> Grid | tuple[Grid, ...]:
    """The grid without globs, each product checked, and all of them small enough to be planned."""
    if isinstance(settings.grid, Grid):
        return _within([(settings.grid, f"{where}: grid")], settings, catalogue)[0]
    places = [(grid, f"{where}: grid.{place}") for place, grid in enumerate(settings.grid)]
    return _within(places, settings, catalogue)


def _within(
    products: list[tuple[Grid, str]], settings: Settings, catalogue: Catalogue
) -> tuple[Grid, ...]:
    """Expand products; refuse them once their plan would fill the memory."""
    grids: list[Grid] = []
    jobs = 0
    for product, where in products:
        grids.append(_expand(product, catalogue, where))
        jobs += _size(grids[-1], settings, catalogue)
        if jobs > MAX_JOBS:
            raise ParamsError(
                f"{where}: {jobs} jobs are more than the {MAX_JOBS} that can be planned; "
                "shorten an axis"
            )
    return tuple(grids)


def _expand(grid: Grid, catalogue: Catalogue, where: str) -> Grid:
    """Replace globs by the names they match, and refuse names that are not known or repeated."""
    axes: dict[str, tuple[Any, ...]] = {}
    for kind in AXES:
        axis: list[str] = []
        for pattern in getattr(grid, kind):
            matches = catalogue.names(kind, pattern)
            if not matches:
                known = catalogue.names(kind)
                raise ParamsError(f"{where}.{kind}: {unknown(kind, pattern, known)}")
            is_glob = any(character in pattern for character in "*?[")
            axis += [name for name in matches if not (is_glob and name in axis)]
        axes[kind] = tuple(axis)
    for name, values in (axes | {"seed": grid.seed}).items():
        _check_unique(values, f"{where}.{name}")
    grid = grid.model_copy(update=axes)
    _check_ratios(grid, catalogue, f"{where}.poison_ratio")
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
        entry = catalogue.get("attack", attack)
        if not grid.ratios(attack) and entry.can("poisons") and entry.can("uses_ratio"):
            raise ParamsError(f"{where}: has none for {attack}; add {attack!r} or '*'")


def _size(grid: Grid, settings: Settings, catalogue: Catalogue) -> int:
    """How many jobs a product plans at most."""
    attacked = sum(len(grid.ratios(attack)) or 1 for attack in grid.attack)
    runs = attacked * prod(len(axis) for axis in (grid.dataset, grid.model, grid.seed))
    looks = [settings.looks(catalogue.get("analysis", tool)) for tool in grid.analysis]
    needs = [catalogue.get("defense", name).can("needs") for name in grid.defense]
    cells = sum(len(settings.clean_sets) if "clean_set" in each else 1 for each in needs)
    pictures = sum(cells if of == "defended" else 1 for each in looks for of in each)
    return runs * (1 + cells + pictures)


def _check_methods(settings: Settings, catalogue: Catalogue, kind: str, where: str) -> None:
    known = catalogue.entries[kind]
    for name in settings.section(kind):
        if name not in known:
            hint = f"an instance of one says which: `{METHOD}: ...`"
            raise ParamsError(f"{where}: {unknown(kind, name, known)}; {hint}")
        fields = settings.fields(kind, name)
        check_fields(known[name], fields, f"{where}.{name}")
        _check_named(known[name], fields, catalogue, f"{where}.{name}")
        _check_of(known[name], fields, f"{where}.{name}")


def _check_named(entry: Entry, fields: Mapping[str, Any], catalogue: Catalogue, where: str) -> None:
    """See that a field which names a method, and says so in its schema, names one that exists."""
    for name, value in fields.items():
        kind = entry.schema["properties"][name].get("names")
        if kind and value and value not in catalogue.entries[kind]:
            raise ParamsError(f"{where}.{name}: {unknown(kind, value, catalogue.entries[kind])}")


def _check_of(entry: Entry, fields: Mapping[str, Any], where: str) -> None:
    """See that a tool which is told what models to look at looks at models one by one."""
    if entry.kind != "analysis" or "of" not in fields:
        return
    if entry.can("scope") != "victim" or "model" not in entry.can("needs"):
        raise ParamsError(f"{where}.of: {entry.name} has no choice of models; leave it out")


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


def _check_clean_sets(settings: Settings, catalogue: Catalogue, where: str) -> None:
    sets = settings.clean_sets
    for place, chosen in enumerate(sets):
        key = f"{where}: clean_set.{place}" if len(sets) > 1 else f"{where}: clean_set"
        _check_clean_set(chosen, settings, catalogue, key)
    _check_unique(tuple(each.name for each in sets), f"{where}: clean_set")


def _check_clean_set(chosen: CleanSet, settings: Settings, catalogue: Catalogue, key: str) -> None:
    known = catalogue.entries["dataset"]
    if chosen.dataset and chosen.dataset not in known:
        raise ParamsError(f"{key}.dataset: {unknown('data set', chosen.dataset, known)}")
    if chosen.dataset and chosen.source != "ood":
        raise ParamsError(
            f"{key}.dataset: {short(chosen.dataset)} is not allowed with source "
            f"{chosen.source!r}; only with 'ood'"
        )
    _check_share(chosen, settings, catalogue, key)
    if chosen.fraction != 0:
        return
    for name in settings.axis("defense"):
        if "clean_set" in catalogue.get("defense", name).can("needs"):
            raise ParamsError(
                f"{key}.fraction: 0 is not allowed: defense {name!r} needs clean "
                "images; raise it, or leave the defense out"
            )


def _check_share(chosen: CleanSet, settings: Settings, catalogue: Catalogue, key: str) -> None:
    """See that what victims have seen has room beside what is kept from them."""
    for name in settings.axis("dataset") if chosen.source == "seen" else ():
        dataset = catalogue.get("dataset", name)
        share, kept = chosen.share(dataset), settings.reserved(dataset)
        if share > round(1 - kept, 9):
            raise ParamsError(
                f"{key}.fraction: {share:g} is not allowed: {kept:g} of {name} are kept from "
                f"victims, which see the rest; at most {1 - kept:g}"
            )
