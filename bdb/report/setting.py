"""What params.yaml changes that concerns a row of the board: figures are then not as published."""

from __future__ import annotations

from collections.abc import Iterator

from bdb.jobs.catalogue import Entry
from bdb.jobs.plan import Plan
from bdb.layout import Run
from bdb.method import METHOD
from bdb.params import CleanSet
from bdb.report.fields import BESIDE, KEPT, part
from bdb.report.validity import IMPORTED, UNDEFENDED
from bdb.training.recipes import RECIPES


def describe(plan: Plan, run: Run, defense: str) -> str:
    """Every field that differs from its default, as `name.field=value`; empty if none does.

    An instance says of which method it is: `name.method=value`. Fields of the defense come last, so
    that what a run's cells share comes first.
    """
    methods = [("dataset", run.dataset), ("model", run.model), ("attack", run.attack)]
    parts = [part for kind, name in methods for part in _fields(plan, kind, name)]
    if defense != UNDEFENDED or not _is_imported(plan, run):
        parts += _training(plan, run)
    parts += _clean_set(plan, run)
    if defense != UNDEFENDED:
        parts += [*_fields(plan, "defense", defense), *_given(plan, run, defense)]
    return " ".join(parts)


def recipe(plan: Plan, run: Run) -> str:
    """That the victim was trained by, as far as params.yaml knows."""
    return IMPORTED if _is_imported(plan, run) else plan.settings.training.recipe


def clean_set(plan: Plan, defense: str) -> str:
    """The source of a row's clean set; of what has none of several, whether any images are kept."""
    settings = plan.settings
    if defense != UNDEFENDED and (own := settings.clean_set_of(defense)):
        return own.source
    if len(settings.clean_sets) == 1:
        return settings.clean_sets[0].source
    return KEPT if settings.keeps_images else "seen"


def methods(setting: str) -> dict[str, str]:
    """The methods behind the instances that a setting speaks of."""
    parts = (part.partition(f".{METHOD}=") for part in setting.split())
    return {name: method for name, found, method in parts if found}


def changes(setting: str) -> str:
    """A setting without the methods of its instances: what is not as published."""
    return " ".join(part for part in setting.split() if f".{METHOD}=" not in part)


def _is_imported(plan: Plan, run: Run) -> bool:
    return bool(plan.catalogue.get("attack", run.attack).can("brought"))


def _fields(plan: Plan, kind: str, name: str) -> Iterator[str]:
    if (method := plan.settings.method(kind, name)) != name:
        yield part(name, METHOD, method)
    entry = plan.catalogue.get(kind, name)
    for field, value in sorted(plan.settings.fields(kind, name).items()):
        if value != entry.default(field):
            yield part(name, field, value)


def _training(plan: Plan, run: Run) -> Iterator[str]:
    training = plan.settings.training
    of_dataset = plan.catalogue.get("dataset", run.dataset).can("recipes")
    usual = RECIPES[training.recipe].model_dump() | of_dataset.get(training.recipe, {})
    for field, value in sorted(training.overrides.items()):
        if value != usual[field]:
            yield part("training", field, value)


def _clean_set(plan: Plan, run: Run) -> Iterator[str]:
    """What all rows share: the only clean set, or the share that is kept from victims."""
    settings = plan.settings
    dataset = plan.catalogue.get("dataset", run.dataset)
    if len(settings.clean_sets) == 1:
        yield from _changed(settings.clean_sets[0], dataset, "clean_set", "")
    elif settings.keeps_images and settings.reserved(dataset) != dataset.can("clean_fraction"):
        yield part("clean_set", "fraction", settings.reserved(dataset))


def _given(plan: Plan, run: Run, cell: str) -> Iterator[str]:
    """What only a cell is given, which has one of several clean sets."""
    settings, own = plan.settings, plan.settings.clean_set_of(cell)
    if own is None or len(settings.clean_sets) == 1:
        return
    dataset = plan.catalogue.get("dataset", run.dataset)
    yield from _changed(own, dataset, cell, "clean_set.")
    if own.source == "seen" and settings.keeps_images:
        yield part(cell, BESIDE, settings.reserved(dataset))


def _changed(clean_set: CleanSet, dataset: Entry, name: str, prefix: str) -> Iterator[str]:
    """What of a clean set is not the default; after its source, which has a column."""
    if clean_set.share(dataset) != dataset.can("clean_fraction"):
        yield part(name, f"{prefix}fraction", clean_set.share(dataset))
    if clean_set.dataset:
        yield part(name, f"{prefix}dataset", clean_set.dataset)
    elif clean_set.source == "ood" and clean_set.severity != type(clean_set)().severity:
        yield part(name, f"{prefix}severity", clean_set.severity)
