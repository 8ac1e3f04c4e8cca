"""From the grid to runs and cells: one function that the engines and `bdb check` share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from bdb.datasets.split import part_counts
from bdb.errors import ParamsError
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.layout import CLEAN_RATIO, Run
from bdb.params import Settings, format_ratio


@dataclass(frozen=True)
class LeftOut:
    """A part of the grid that makes no sense, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        runs: the victims, clean-model controls among them.
        cells: each run under each defense that makes sense for it.
        analyses: each run under each analysis tool.
        left_out: the rest of the grid.
    """

    settings: Settings
    catalogue: Catalogue
    runs: tuple[Run, ...]
    cells: tuple[tuple[Run, str], ...]
    analyses: tuple[tuple[Run, str], ...]
    left_out: tuple[LeftOut, ...]

    @cached_property
    def defenses(self) -> dict[Run, tuple[str, ...]]:
        """The defenses of each run."""
        table: dict[Run, list[str]] = {run: [] for run in self.runs}
        for run, defense in self.cells:
            table[run].append(defense)
        return {run: tuple(names) for run, names in table.items()}

    @cached_property
    def featured(self) -> tuple[Run, ...]:
        """The runs with a cell that reads features, which are extracted once per victim."""
        runs = dict.fromkeys(run for run, name in self.cells if self.needs_features(name))
        return tuple(runs)

    def needs_features(self, defense: str) -> bool:
        """Whether a defense reads what was extracted once per victim."""
        return "features" in self.catalogue.get("defense", defense).can("needs")


def make(settings: Settings, catalogue: Catalogue) -> Plan:
    """Expand the grid.

    Raises:
        ParamsError: nothing is left of it, or an attack's target is not a class.
    """
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    for run in _candidates(settings, catalogue):
        reason = _why_not(run, settings, catalogue)
        if reason:
            left_out.append(LeftOut(str(run), reason))
        else:
            runs.append(run)
    if not runs:
        raise ParamsError(
            f"the grid is empty: {left_out[0].what} is left out ({left_out[0].reason})"
        )
    cells, without = _cells(runs, settings, catalogue)
    analyses = tuple(product(runs, settings.grid.analysis))
    return Plan(settings, catalogue, tuple(runs), cells, analyses, (*left_out, *without))


def _candidates(settings: Settings, catalogue: Catalogue) -> list[Run]:
    """The cross product; the clean-model control has one ratio, 0."""
    grid = settings.grid
    ratios = {
        attack: [format_ratio(ratio) for ratio in grid.ratios(attack)]
        if catalogue.get("attack", attack).can("poisons")
        else [CLEAN_RATIO]
        for attack in grid.attack
    }
    return [
        Run(dataset, model, attack, ratio, seed)
        for dataset, model, attack in product(grid.dataset, grid.model, grid.attack)
        for ratio in ratios[attack]
        for seed in grid.seed
    ]


def _cells(
    runs: list[Run], settings: Settings, catalogue: Catalogue
) -> tuple[tuple[tuple[Run, str], ...], list[LeftOut]]:
    cells, left_out = [], []
    for run, name in product(runs, settings.grid.defense):
        needs = catalogue.get("defense", name).can("needs")
        needs_train_set = not {"train_set", "features"}.isdisjoint(needs)
        if needs_train_set and not catalogue.get("attack", run.attack).can("gives_train_set"):
            reason = f"{name} needs a training set, and {run.attack} leaves none"
            left_out.append(LeftOut(f"{run} {name}", reason))
        else:
            cells.append((run, name))
    return tuple(cells), left_out


def _why_not(run: Run, settings: Settings, catalogue: Catalogue) -> str | None:
    """Why a run makes no sense, if it does not."""
    attack = catalogue.get("attack", run.attack)
    counts = _class_counts(run, settings, catalogue)
    if counts is None:
        return None  # The poison stage will see.
    target = int(_field(attack, settings, "target"))
    if target >= len(counts):
        raise ParamsError(
            f"attacks.{run.attack}.target: {target} is not a class of {run.dataset}: "
            f"0 to {len(counts) - 1}"
        )
    wanted = round(run.poison_ratio * sum(counts))
    if attack.can("poisons") and wanted == 0:
        return f"{run.ratio} of {sum(counts)} training images is none"
    if attack.can("label_mode") == "clean" and wanted > counts[target]:
        return (
            f"{run.attack} keeps labels clean: {wanted} poisons, "
            f"but class {target} has {counts[target]} of {sum(counts)} images"
        )
    return None


def _class_counts(run: Run, settings: Settings, catalogue: Catalogue) -> list[int] | None:
    """The victim's training images per class, where the data set declares them."""
    dataset = catalogue.get("dataset", run.dataset)
    counts: list[int] | None = dataset.can("class_counts")
    if counts is None:
        return None
    counts = part_counts(counts, _field(dataset, settings, "train_share"))
    if settings.clean_set.source == "seen":
        return counts
    reserved = part_counts(counts, clean_fraction(settings, dataset))
    return [count - kept for count, kept in zip(counts, reserved, strict=True)]


def clean_fraction(settings: Settings, dataset: Entry) -> float:
    """The share of the training set that the defender's clean set takes."""
    wanted = settings.clean_set.fraction
    return float(dataset.can("clean_fraction") if wanted is None else wanted)


def _field(entry: Entry, settings: Settings, name: str) -> Any:
    default = entry.schema["properties"][name]["default"]
    return settings.fields(entry.kind, entry.name).get(name, default)
