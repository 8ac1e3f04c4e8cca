"""From the grid to runs and cells: one function that the engines and `bdb check` share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import Any, NamedTuple, TypeVar

from bdb.attacks.extent import misfit
from bdb.datasets.split import part_counts
from bdb.errors import ParamsError
from bdb.jobs import brought, controls, spreading
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.layout import CLEAN_MODEL, CLEAN_RATIO, Run, clean_set_of, is_control
from bdb.params import Grid, Settings, format_ratio

T = TypeVar("T")

LOW_RATIO = 0.01  # so little poison that most defenses have nothing to hold on to


@dataclass(frozen=True)
class LeftOut:
    """A part of the grid that makes no sense, and why."""

    what: str
    reason: str


class CleanShare(NamedTuple):
    """A clean set on a data set.

    Attributes:
        kind: what it is, its size apart.
        share: of the training set.
    """

    kind: str
    share: float


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        runs: the victims, clean-model controls among them.
        cells: each run under each defense that makes sense for it.
        analyses: each run under each analysis tool; last comes what it looks at: None for the
            victim, a cell's defense, or `CLEAN_MODEL`.
        left_out: the rest of the grid.
    """

    settings: Settings
    catalogue: Catalogue
    runs: tuple[Run, ...]
    cells: tuple[tuple[Run, str], ...]
    analyses: tuple[tuple[Run, str, str | None], ...]
    left_out: tuple[LeftOut, ...]

    @cached_property
    def defenses(self) -> dict[Run, tuple[str, ...]]:
        """The defenses of each run."""
        table: dict[Run, list[str]] = {run: [] for run in self.runs}
        for run, defense in self.cells:
            table[run].append(defense)
        return {run: tuple(names) for run, names in table.items()}

    @cached_property
    def given(self) -> dict[tuple[str, str], CleanShare]:
        """Where there are several clean sets, that of each data set and cell which has one."""
        pairs = dict.fromkeys((run.dataset, name) for run, name in self.cells if clean_set_of(name))
        return {pair: self._given(*pair) for pair in pairs}

    def _given(self, dataset: str, cell: str) -> CleanShare:
        clean_set = self.settings.clean_set_of(cell)
        assert clean_set
        return CleanShare(clean_set.kind, clean_set.share(self.catalogue.get("dataset", dataset)))

    @cached_property
    def featured(self) -> tuple[Run, ...]:
        """The runs with a cell that reads features, which are extracted once per victim."""
        runs = dict.fromkeys(run for run, name in self.cells if self.needs_features(name))
        return tuple(runs)

    def needs_features(self, defense: str) -> bool:
        """Whether a defense reads what was extracted once per victim."""
        return "features" in self.catalogue.get("defense", defense).can("needs")

    def is_adaptive(self, run: Run, defense: str) -> bool:
        """Whether a run's attack is one that such a defense is known to have a hard time with.

        It is made to leave no trace where the defense looks, or it poisons next to nothing.
        """
        if is_control(run.attack):
            return False
        evades = self.catalogue.get("attack", run.attack).can("evades")
        looks_at = self.catalogue.get("defense", defense).can("looks_at")
        return looks_at in evades or 0 < run.poison_ratio <= LOW_RATIO

    def leaves_evidence(self, defense: str) -> bool:
        """Whether a file beside its cells holds what a defense found."""
        return bool(self.catalogue.get("defense", defense).can("evidence"))


def make(settings: Settings, catalogue: Catalogue) -> Plan:
    """Expand the grid: the union of its products.

    Raises:
        ParamsError: nothing is left of it, an attack's target is not a class, or its trigger does
            not fit into the images.
    """
    settings = controls.add(settings, catalogue.with_instances(settings.instances))
    settings = spreading.over_clean_sets(settings, catalogue.with_instances(settings.instances))
    catalogue = catalogue.with_instances(settings.instances)
    parts = [_product(grid, settings, catalogue) for grid in settings.grids]
    runs = _union(part.runs for part in parts)
    left_out = _union(part.left_out for part in parts)
    if not runs:
        raise ParamsError(
            f"the grid is empty: {left_out[0].what} is left out ({left_out[0].reason})"
        )
    cells = _union(part.cells for part in parts)
    analyses = _union(part.analyses for part in parts)
    return Plan(settings, catalogue, runs, cells, analyses, left_out)


def _union(parts: Iterable[Iterable[T]]) -> tuple[T, ...]:
    """All that any part holds, once, in order."""
    return tuple(dict.fromkeys(chain.from_iterable(parts)))


def _product(grid: Grid, settings: Settings, catalogue: Catalogue) -> Plan:
    """Expand one product."""
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    for run in _candidates(grid, catalogue):
        reason = _why_not(run, settings, catalogue)
        if reason:
            left_out.append(LeftOut(str(run), reason))
        else:
            runs.append(run)
    cells, without = _cells(runs, grid, settings, catalogue)
    analyses, unseen = _analyses(runs, cells, grid, settings, catalogue)
    return Plan(settings, catalogue, tuple(runs), cells, analyses, (*left_out, *without, *unseen))


def _candidates(grid: Grid, catalogue: Catalogue) -> list[Run]:
    """The cross product; the control, and an attack without a ratio, have one ratio, 0."""
    ratios = {
        attack: [format_ratio(ratio) for ratio in grid.ratios(attack)]
        if has_ratios(catalogue.get("attack", attack))
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
    runs: list[Run], grid: Grid, settings: Settings, catalogue: Catalogue
) -> tuple[tuple[tuple[Run, str], ...], list[LeftOut]]:
    cells, left_out = [], []
    for run, name in product(runs, grid.defense):
        reason = _why_no_cell(run, name, settings, catalogue)
        if reason:
            left_out.append(LeftOut(f"{run} {name}", reason))
        else:
            cells.append((run, name))
    return tuple(cells), left_out


# What a victim may lack: in words, and the needs of methods that it leaves open.
_LACKS = {
    "train_set": ("a training set", {"train_set", "features"}),
    "triggered": ("triggered images", {"triggered", "inputs"}),
}


def _not_given(method: Entry, run: Run, settings: Settings, catalogue: Catalogue) -> str | None:
    """What a method needs and a run does not leave, if anything."""
    for each in sorted(brought.lacks(catalogue.get("attack", run.attack), settings)):
        what, needs = _LACKS[each]
        if not needs.isdisjoint(method.can("needs")):
            return f"{method.name} needs {what}, and {run.attack} leaves none"
    return None


def _why_no_cell(run: Run, name: str, settings: Settings, catalogue: Catalogue) -> str | None:
    """Why a defense has nothing to act on, if it has not."""
    defense = catalogue.get("defense", name)
    if reason := _not_given(defense, run, settings, catalogue):
        return reason
    counts = catalogue.get("dataset", run.dataset).can("class_counts")
    if counts is not None and len(counts) < defense.can("min_classes"):
        least = defense.can("min_classes")
        return f"{name} needs {least} classes or more, and {run.dataset} has {len(counts)}"
    return _what_lacks(defense, run, None, settings, catalogue)


def _what_lacks(
    method: Entry, run: Run, of: str | None, settings: Settings, catalogue: Catalogue
) -> str | None:
    """What a method requires of the model it acts on and that does not offer, if anything."""
    model, attack = catalogue.get("model", run.model), catalogue.get("attack", run.attack)
    offers = set(model.can("offers")) - set(_of_field(model, "lacks_field", settings))
    hidden = {run.model: set(method.can("requires")) - offers}
    if of != CLEAN_MODEL:
        hidden[f"the victim of {run.attack}"] = set(attack.can("hides"))
    if of and of != CLEAN_MODEL:
        hidden[f"what {of} leaves"] = set(catalogue.get("defense", of).can("hides"))
    for whose, lacks in hidden.items():
        if missing := sorted(lacks.intersection(method.can("requires"))):
            return f"{method.name} acts on {missing[0].replace('_', ' ')}, and {whose} has none"
    return None


def _of_field(entry: Entry, capability: str, settings: Settings) -> Any:
    """The value of the field that a capability names; nothing if it names none."""
    field = entry.can(capability)
    return settings.value(entry, field) if field else ()


def _analyses(
    runs: list[Run],
    cells: tuple[tuple[Run, str], ...],
    grid: Grid,
    settings: Settings,
    catalogue: Catalogue,
) -> tuple[tuple[tuple[Run, str, str | None], ...], list[LeftOut]]:
    defenses: dict[Run, list[str]] = {}
    for run, defense in cells:
        defenses.setdefault(run, []).append(defense)
    wanted = [
        (run, tool, of)
        for run, tool in product(runs, grid.analysis)
        for of in _looked_at(settings.looks(catalogue.get("analysis", tool)), defenses.get(run, []))
    ]
    reasons = {each: why_no_picture(*each, settings, catalogue) for each in wanted}
    left_out = [
        LeftOut(" ".join(filter(None, (str(run), tool, of))), reason)
        for (run, tool, of), reason in reasons.items()
        if reason
    ]
    return tuple(each for each, reason in reasons.items() if not reason), left_out


def _looked_at(looks: tuple[str, ...], defenses: list[str]) -> list[str | None]:
    """What of a run a tool looks at, victims first."""
    found: list[str | None] = [None] if "victim" in looks else []
    found += [CLEAN_MODEL] if "clean_model" in looks else []
    found += defenses if "defended" in looks else []
    return found or [None]


def why_no_picture(
    run: Run, tool: str, of: str | None, settings: Settings, catalogue: Catalogue
) -> str | None:
    """Why an analysis has nothing to look at, if it has not."""
    entry = catalogue.get("analysis", tool)
    if reason := _why_not_of(run, tool, of, settings.looks(entry)):
        return reason
    if lack := _what_lacks(entry, run, of, settings, catalogue):
        return lack
    if reason := _not_given(entry, run, settings, catalogue):
        return reason
    if of in (None, CLEAN_MODEL):
        return None
    if not catalogue.get("defense", str(of)).can("mitigates"):
        return f"{tool} looks at a defended model, and {of} only detects"
    if not settings.keep_defended_models:
        return f"{tool} looks at a defended model, and keep_defended_models is false"
    return None


def _why_not_of(run: Run, tool: str, of: str | None, looks: tuple[str, ...]) -> str | None:
    """Why a tool does not look at this model of a run, if it does not."""
    if of == CLEAN_MODEL:
        if run.is_shared:
            return f"the victim of {run.attack} is the clean model"
        return None if CLEAN_MODEL in looks else f"{tool} looks at no clean model; leave it out"
    if of:
        return None if "defended" in looks else f"{tool} looks at no defended model; leave {of} out"
    if "victim" in looks:
        return None
    if "defended" in looks:
        return f"{tool} looks at a defended model; name a defense"
    return f"{tool} looks at a clean model; name {CLEAN_MODEL}"


def has_ratios(attack: Entry) -> bool:
    """Whether a poison ratio means anything to an attack."""
    return bool(attack.can("poisons") and attack.can("uses_ratio"))


def _why_not(run: Run, settings: Settings, catalogue: Catalogue) -> str | None:
    """Why a run makes no sense, if it does not."""
    attack = catalogue.get("attack", run.attack)
    if reason := brought.why_not(run, attack, settings):
        return reason
    _check_extent(run, settings, catalogue)
    counts = class_counts(run, settings, catalogue)
    if counts is None:
        return None  # The poison stage will see.
    _check_classes(run, attack, settings, len(counts))
    target = int(settings.value(attack, "target"))
    wanted = round(run.poison_ratio * sum(counts))
    if not has_ratios(attack):
        return None
    if wanted == 0:
        return f"{run.ratio} of {sum(counts)} training images is none"
    if _label_mode(attack, settings) == "clean":
        if wanted > counts[target]:
            return (
                f"{run.attack} keeps labels clean: {wanted} poisons, "
                f"but class {target} has {counts[target]} of {sum(counts)} images"
            )
        return None
    return _too_few_sources(run, attack, settings, counts, wanted)


def _too_few_sources(
    run: Run, attack: Entry, settings: Settings, counts: list[int], wanted: int
) -> str | None:
    sources = set(settings.value(attack, "source_classes"))
    there = sum(counts[source] for source in sources)
    if not sources or wanted <= there:
        return None
    return (
        f"{run.attack} poisons source classes alone: {wanted} poisons, "
        f"but classes {sorted(sources)} have {there} of {sum(counts)} images"
    )


def _label_mode(attack: Entry, settings: Settings) -> str:
    chosen = attack.can("label_mode_field")
    return str(settings.value(attack, chosen) if chosen else attack.can("label_mode"))


def _check_classes(run: Run, attack: Entry, settings: Settings, count: int) -> None:
    """See that every class that the attack's fields name is one of the data set's."""
    for key in ("target", "targets", "source_classes", "cover_classes"):
        value = settings.value(attack, key)
        wrong = [each for each in (value if key != "target" else [value]) if int(each) >= count]
        if wrong:
            raise ParamsError(
                f"attacks.{run.attack}.{key}: {wrong[0]} is not a class of {run.dataset}: "
                f"0 to {count - 1}"
            )


def _check_extent(run: Run, settings: Settings, catalogue: Catalogue) -> None:
    """See that the trigger fits into the images, where their size is known beforehand."""
    attack, dataset = catalogue.get("attack", run.attack), catalogue.get("dataset", run.dataset)
    chosen = "size" in dataset.schema["properties"]
    side = settings.value(dataset, "size") if chosen else dataset.can("side")
    if side is None:
        return
    extent = attack.can("extent")
    names = [name for factors in extent.values() for name in factors]
    fields = {name: settings.value(attack, name) for name in names}
    reason = misfit(extent, fields, side, side)
    if reason:
        raise ParamsError(f"attacks.{run.attack}.{reason}")


def class_counts(run: Run, settings: Settings, catalogue: Catalogue) -> list[int] | None:
    """The victim's training images per class, where the data set declares them."""
    dataset = catalogue.get("dataset", run.dataset)
    counts: list[int] | None = dataset.can("class_counts")
    if counts is None:
        return None
    counts = part_counts(counts, settings.value(dataset, "train_share"))
    reserved = part_counts(counts, settings.reserved(dataset))
    return [count - kept for count, kept in zip(counts, reserved, strict=True)]
