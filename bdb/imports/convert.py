"""From what somebody brought to a folder that bdb reads, and the lines that put it on the grid."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from filecmp import cmpfiles
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from torch import Tensor

from bdb import __version__, artifacts, layout, registry
from bdb.attacks import poisoning
from bdb.attacks.base import Plan
from bdb.attacks.imported import TRAINED
from bdb.attacks.poisoning import Poison, Triggered
from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError
from bdb.export.targets import free
from bdb.imports import backdoorbench, rows
from bdb.imports.rows import Rows
from bdb.jobs import catalogue, instances
from bdb.layout import Run
from bdb.method import METHOD
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier, ModelSpec
from bdb.models.foreign_nets import Foreign
from bdb.scan import files, suspects
from bdb.scan.files import Found
from bdb.scan.suspects import Told
from bdb.stages.inputs import read_split

_DIGITS = 12  # of the hash, in params.yaml


@dataclass(frozen=True)
class Beside:
    """What the user says of what lies beside a model.

    Attributes:
        dataset: that the victim was trained on, as params.yaml names it; empty if its file says.
        poisoned: training images with the trigger, as a CSV or a folder.
        triggered: test images with it, likewise.
        target: the label that the images of a folder are given.
        seed: whose clean set the victim was not trained on, if its file does not say.
    """

    dataset: str = ""
    poisoned: Path | None = None
    triggered: Path | None = None
    target: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Brought:
    """A victim that was converted.

    Attributes:
        said: where it lies and what it is.
        lines: what params.yaml needs to have it run, by section and key.
    """

    said: str
    lines: dict[str, dict[str, Any]]

    def __str__(self) -> str:
        """Both; the lines as YAML."""
        return f"{self.said}\n\n{yaml.safe_dump(self.lines, sort_keys=False).rstrip()}"


def bring(source: Path, name: str, told: Told, beside: Beside) -> Brought:
    """Write data/imported/NAME, or leave it alone if it is that already.

    Args:
        source: a file with a model in it, or a folder.
        name: of the attack's instance.
        told: of the model, what cannot be inferred.
        beside: of the images.

    Raises:
        SuspectError: the model cannot be read, or does not fit.
        ParamsError: the name will not do, or is taken.
        DataError: the images are not of the data set.
        ArtifactError: the data set has not been prepared.
    """
    section = {name: {METHOD: "imported"}}
    instances.check(section, catalogue.load(), "attack", "bdb import")
    folder = layout.IMPORTED / name
    found = files.read(source)
    splits = Splits(found, beside)
    model = _fitted(suspects.load(found, told, splits.data), splits.data)
    poison, lacks = splits.poison()
    noted = {
        "source": str(source),
        "sha256": hashlib.sha256(found.path.read_bytes()).hexdigest(),
        "dataset": splits.name,
        "model": model.spec.model_dump(mode="json", exclude={"data"}),
        "lacks": lacks,
        "bdb": __version__,
    }
    with _placed(folder) as fresh:
        written = layout.Imported.within(fresh)
        models.save(written.model, model, origin=noted)
        poisoning.save(written.poison, poison, origin=noted)
        artifacts.write_json(written.manifest, noted)
    lines = _lines(name, folder, model, noted, splits.reserved_by(poison.state[TRAINED]))
    return Brought(f"{folder}: {_described(poison, model)}", lines)


@contextmanager
def _placed(folder: Path) -> Iterator[Path]:
    """A new folder to write in, which gets this name unless its like has it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".") as around:
        fresh = Path(around) / folder.name
        yield fresh
        if not _are_alike(fresh, folder):
            fresh.rename(free(folder))


def _are_alike(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, of the same bytes."""
    names, others = (sorted(path.name for path in folder.glob("*")) for folder in (one, other))
    return names == others == cmpfiles(one, other, names, shallow=False)[0]


class Splits:
    """The images that came with a model, and the data set that they are of.

    Raises:
        ParamsError: no data set is named.
        ArtifactError: it has not been prepared.
    """

    def __init__(self, found: Found, beside: Beside) -> None:
        self.found, self.beside = found, beside
        self.run = _exported(found)
        given = self.run.dataset if self.run else str(found.facts.get("clean_data", ""))
        self.name = beside.dataset or backdoorbench.DATASETS.get(given, given)
        if not self.name or "/" in self.name:
            raise ParamsError("which data set it was trained on cannot be told: --dataset NAME")
        self.test, self.data = read_split(self.name, "test")
        self.train, _ = read_split(self.name, "train")

    def reserved_by(self, trained: Tensor) -> int | None:
        """The seed whose clean set the victim was not trained on; None if it saw all."""
        if len(trained) in (0, len(self.train)):
            return None
        return (
            self.beside.seed if self.beside.seed is not None else self.run.seed if self.run else 0
        )

    def poison(self) -> tuple[Poison, list[str]]:
        """What the victim was given, and what of it did not come with it."""
        train = self._rows(self.beside.poisoned, "bd_train")
        test = self._rows(self.beside.triggered, "bd_test")
        lacks = [name for name, part in (("train_set", train), ("triggered", test)) if part is None]
        train, test = train or Rows("", ()), test or Rows("", ())
        test = Rows(test.where, tuple(row for row in test.rows if row.given != row.true))
        train.check(self.train, self.data.num_classes)
        test.check(self.test, self.data.num_classes)
        images = train.pixels(self.data.shape), test.pixels(self.data.shape)
        plan = Plan(*map(train.column, ("index", "given", "is_poison", "is_cover")))
        marked = Triggered(images[1], *map(test.column, ("index", "true", "given", "is_source")))
        return Poison(plan, images[0], marked, {TRAINED: self._trained(train, lacks)}), lacks

    def _rows(self, path: Path | None, record: str) -> Rows | None:
        """Of a CSV or a folder that the user names, or of BackdoorBench's own record."""
        if path is not None:
            return rows.read(path, self.data.classes, self.beside.target)
        found = self.found.records.get(record)
        if found is None:
            return None
        with files.named(self.found.path):
            return backdoorbench.rows(found, self.found.path.parent, record)

    def _trained(self, train: Rows, lacks: list[str]) -> Tensor:
        """The ids of what the victim was trained on: everything, unless the source says less."""
        if "train_set" in lacks:
            return torch.zeros(0, dtype=torch.int64)
        return self.train.ids if train.trained is None else train.trained


def _fitted(model: Classifier, data: DataSpec) -> Classifier:
    """The model with what bdb knows of its data set.

    Raises:
        ParamsError: it is of other images or classes.
    """
    own = model.spec.data
    if (own.shape, own.num_classes) != (data.shape, data.num_classes):
        raise ParamsError(
            f"a model of {own.num_classes} classes and images {'x'.join(map(str, own.shape))}, and "
            f"{data.dataset} has {data.num_classes} and {'x'.join(map(str, data.shape))}"
        )
    spec = _registered(model) if isinstance(model, Foreign) else model.spec
    model.spec = spec.model_copy(update={"data": data})
    return model


def _registered(model: Foreign) -> ModelSpec:
    """What a network of torchvision or timm is built from again: it may lack what methods need."""
    usual = registry.get("model", "foreign").make().model_dump()
    layers = {name for name, _ in model.net.named_modules()}
    found = {"batch_norm": bool(surgery.batch_norms(model)), "maps": layers >= {*usual["stages"]}}
    fields: dict[str, Any] = {"network": model.spec.architecture}
    fields |= (
        {"lacks": lacks} if (lacks := [name for name, has in found.items() if not has]) else {}
    )
    return model.spec.model_copy(update={"architecture": "foreign", "fields": fields})


def _exported(found: Found) -> Run | None:
    """The run whose victim `bdb export model` wrote, if it did."""
    with files.named(found.path):
        run = found.records.get("about", {}).get("run")
        return Run.parse(str(run)) if run else None


def _described(poison: Poison, model: Classifier) -> str:
    plan = poison.plan
    return (
        f"{model.spec.architecture}, {int(plan.is_poison.sum())} poisons, "
        f"{int(plan.is_cross.sum())} covers, {len(poison.test.ids)} triggered test images"
    )


def _lines(
    name: str, folder: Path, model: Classifier, noted: dict[str, Any], seed: int | None
) -> dict[str, dict[str, Any]]:
    """What to write into params.yaml."""
    spec = model.spec
    changed = models.changed(spec)
    net = f"{name}_net" if changed else spec.architecture
    fields = {
        METHOD: "imported",
        "path": str(folder),
        "of": f"{noted['dataset']}/{net}",
        "source": noted["sha256"][:_DIGITS],
    }
    fields |= {"lacks": noted["lacks"]} if noted["lacks"] else {}
    fields |= {"reserved_by": seed} if seed is not None else {}
    lines: dict[str, Any] = {"grid": {"dataset": [noted["dataset"]], "model": [net]}}
    lines["grid"] |= {"attack": [name]} | ({"seed": [seed]} if seed is not None else {})
    lines |= {"models": {net: {METHOD: spec.architecture, **changed}}} if changed else {}
    lines |= {"attacks": {name: fields}}
    if seed is None and "train_set" not in noted["lacks"]:
        lines |= {"clean_set": {"source": "seen"}}
    return lines
