"""What params.yaml changes that concerns a row of the board: figures are then not as published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bdb.jobs.plan import Plan, clean_fraction
from bdb.layout import Run
from bdb.report.compare import UNDEFENDED
from bdb.training.recipes import RECIPES


def describe(plan: Plan, run: Run, defense: str) -> str:
    """Every field that differs from its default, as `name.field=value`; empty if none does.

    Fields of the defense come last, so that what a run's cells share comes first.
    """
    methods = [("dataset", run.dataset), ("model", run.model), ("attack", run.attack)]
    parts = [part for kind, name in methods for part in _fields(plan, kind, name)]
    parts += [*_training(plan, run), *_clean_set(plan, run)]
    if defense != UNDEFENDED:
        parts += _fields(plan, "defense", defense)
    return " ".join(parts)


def _fields(plan: Plan, kind: str, name: str) -> Iterator[str]:
    known = plan.catalogue.get(kind, name).schema["properties"]
    for field, value in sorted(plan.settings.fields(kind, name).items()):
        if value != known[field].get("default"):
            yield _part(name, field, value)


def _training(plan: Plan, run: Run) -> Iterator[str]:
    training = plan.settings.training
    of_dataset = plan.catalogue.get("dataset", run.dataset).can("recipes")
    usual = RECIPES[training.recipe].model_dump() | of_dataset.get(training.recipe, {})
    for field, value in sorted(training.overrides.items()):
        if value != usual[field]:
            yield _part("training", field, value)


def _clean_set(plan: Plan, run: Run) -> Iterator[str]:
    dataset = plan.catalogue.get("dataset", run.dataset)
    fraction = clean_fraction(plan.settings, dataset)
    if fraction != dataset.can("clean_fraction"):
        yield _part("clean_set", "fraction", fraction)


def _part(name: str, field: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"{name}.{field}={text}"
