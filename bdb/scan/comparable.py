"""The clean models of a population that are like a suspect."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd

from bdb import registry
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.report import fields as settings
from bdb.report import population
from bdb.scan.references import References

_MODEL = ["attack", "poison_ratio", "seed"]
_ALIKE = ["recipe", "clean_set", "shared"]


def find(path: Path | None, spec: ModelSpec, recipe: str) -> References:
    """The clean models of a population file that are like a suspect.

    They are of the same data set and architecture, with the same fields, and of its recipe if that
    is known. Where these differ in something else, such as the clean images that detectors had,
    those that are more count.

    Args:
        path: a file as the report writes it; None is that of bdb.
        spec: the suspect's.
        recipe: that it was trained by; empty if nobody knows.

    Raises:
        ArtifactError: the file is missing, damaged, or no population.
    """
    with as_file(files("bdb.scan") / "population.csv") as packaged:
        table = population.read(path or packaged)
    clean = table[(table["label"] == "clean") & np.isfinite(table["score"])]
    alike = clean[[_is_alike(row, spec, recipe) for _, row in clean.iterrows()]]
    if alike.empty:
        of_recipe = f" trained as {recipe}" if recipe else ""
        about = f"{data_name(spec)} {_architecture(spec)}{of_recipe}"
        return References(pd.DataFrame(), lacking=f"no clean model of {about} to compare with")
    shared = [settings.without(row["setting"], row["detector"]) for _, row in alike.iterrows()]
    return _largest(alike.assign(shared=shared))


def data_name(spec: ModelSpec) -> str:
    """What a population calls the suspect's data: without a name, what can be seen of them."""
    data = spec.data
    if data.dataset != "brought":
        return data.dataset
    return "_".join(["brought", str(data.num_classes), *(str(side) for side in data.shape)])


def _architecture(spec: ModelSpec) -> str:
    return " ".join([spec.architecture, *setting(spec)])


def setting(spec: ModelSpec) -> list[str]:
    """The fields that are not as by default, as a setting has them."""
    if spec.architecture not in registry.names("model"):
        return []
    changed = sorted(models.changed(spec).items())
    return [settings.part(spec.architecture, name, value) for name, value in changed]


def _is_alike(row: pd.Series, spec: ModelSpec, recipe: str) -> bool:
    fields = settings.of(row["setting"], row["model"]).split()
    named = (row["dataset"], row["model"]) == (data_name(spec), spec.architecture)
    known = row["detector"] in registry.names("defense") and recipe in ("", row["recipe"])
    return named and known and not spec.wrappers and sorted(fields) == setting(spec)


def _largest(alike: pd.DataFrame) -> References:
    """The greatest number of models of one kind, and of each detector's settings there."""
    kinds = alike.groupby(_ALIKE, sort=False)
    kind = max(kinds, key=lambda each: len(each[1][_MODEL].drop_duplicates()))[1]
    columns, fields = [], {}
    for name, rows in kind.groupby("detector", sort=False):
        setting, most = max(rows.groupby("setting", sort=False), key=lambda each: len(each[1]))
        columns.append(most.groupby(_MODEL)["score"].mean().rename(str(name)))
        fields[str(name)] = settings.values(str(setting), str(name))
    return References(pd.concat(columns, axis=1), fields, str(kind["recipe"].iloc[0]))
