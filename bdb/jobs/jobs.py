"""Every job of the workflow: its command, the parameters it reads, its inputs and outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, starmap
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bdb import layout
from bdb.errors import ParamsError
from bdb.jobs import brought
from bdb.jobs import catalogue as catalogues
from bdb.jobs import plan as plans
from bdb.jobs import raw as raw_files
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.jobs.job import Job
from bdb.jobs.plan import Plan
from bdb.jobs.shared import Shared
from bdb.layout import ANY_MODEL, Run
from bdb.params import AXES, CleanSet, Settings, load

STAGES = (
    "prepare",
    "clean",
    "surrogate",
    "trigger",
    "poison",
    "train",
    "features",
    "defend",
    "evaluate",
    "analyze",
    "report",
)


class Jobs:
    """The jobs of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.shared = Shared(plan)
        self.settings: Settings = plan.settings
        self.catalogue: Catalogue = plan.catalogue
        self._codes: dict[tuple[str, ...], str] = {}
        self._stamps: dict[str, str] = {}

    def __iter__(self) -> Iterator[Job]:
        """Every job of the plan, each after those whose outputs it reads."""
        return chain.from_iterable(map(self.of, STAGES))

    def of(self, stage: str) -> Iterator[Job]:
        """The jobs of one stage; `clean` are the clean models, `train` the victims."""
        plan = self.plan
        poisoned = [run for run in plan.runs if not run.is_clean]
        victims = [run for run in plan.runs if not run.is_shared]
        stages: dict[str, Callable[[], Iterable[Job]]] = {
            "prepare": lambda: map(self.prepare, self.shared.datasets),
            "clean": lambda: map(self.train, self.shared.clean_models),
            "surrogate": lambda: starmap(self.surrogate, self.shared.surrogates),
            "trigger": lambda: map(self.trigger, self.shared.triggers),
            "poison": lambda: map(self.poison, poisoned),
            "train": lambda: map(self.train, victims),
            "features": lambda: map(self.features, plan.featured),
            "defend": lambda: starmap(self.defend, plan.cells),
            "evaluate": lambda: map(self.evaluate, plan.runs),
            "analyze": lambda: starmap(self.analyze, plan.analyses),
            "report": lambda: [self.report()],
        }
        return iter(stages[stage]())

    def state(self) -> str:
        """A hash of every job's command and parameters: of what DVC should have on record."""
        digest = hashlib.sha256()
        for job in self:
            digest.update(json.dumps([job.command, job.params], sort_keys=True).encode())
        return digest.hexdigest()

    def prepare(self, dataset: str) -> Job:
        """Raw files to one safetensors per split."""
        entry = self._entry("dataset", dataset)
        folder = layout.PREPARED / dataset
        outputs = [folder / name for name in (*_SPLITS, "provenance.json")]
        return self._job("prepare", (dataset,), [], outputs, [entry], raw=self._raw(entry))

    def surrogate(self, run: Run, name: str) -> Job:
        """A model that attackers need and that is no clean model of the grid's data."""
        made = self.shared.surrogate(run, name)
        sources = dict.fromkeys([run.dataset, made.source])
        inputs = [layout.prepared(each, part) for each in sources for part in ("train", "test")]
        outputs = [made.path, made.path.with_name("provenance.json")]
        methods = [self._entry("dataset", each) for each in sources]
        methods.append(self._entry("model", run.model))
        split = self._split(run)
        arguments = (str(run), name)
        return self._job("surrogate", arguments, inputs, outputs, methods, ["training"], split)

    def trigger(self, run: Run) -> Job:
        """The trigger that all poison ratios share; `run` has ratio 0."""
        path = layout.trigger(run)
        methods = [self._entry("attack", run.attack), self._entry("dataset", run.dataset)]
        if run.model != ANY_MODEL:
            methods.append(self._entry("model", run.model))
        return self._job(
            "trigger",
            (str(run),),
            [*self._prepared(run), *self.shared.attackers(run)],
            [path, path.with_name("provenance.json")],
            methods,
            ["training"],
            self._split(run),
        )

    def poison(self, run: Run) -> Job:
        """The poisoned set, or the plan of a training-controlled attack."""
        inputs = [*self._prepared(run), *self._attacker(run)]
        attack = self._entry("attack", run.attack)
        methods, sections = [attack, self._entry("dataset", run.dataset)], []
        if "architecture" in attack.can("needs"):
            methods.append(self._entry("model", run.model))
            sections.append("training")
        return self._job(
            "poison",
            (str(run),),
            inputs,
            [layout.poisoned(run), layout.poisoned(run).with_name("provenance.json")],
            methods,
            sections,
            self._split(run),
        )

    def train(self, run: Run) -> Job:
        """A victim, or a clean model."""
        folder = layout.victim(run)
        names = ["model.safetensors", "predictions.parquet", "history.parquet", "provenance.json"]
        inputs = self._prepared(run) + ([] if run.is_clean else [layout.poisoned(run)])
        if self.controls_training(run):
            names.append("poison.safetensors")
        if self.controls_training(run) or self._entry("attack", run.attack).can("edits_model"):
            inputs += self._attacker(run)
        methods = [
            self._entry("dataset", run.dataset),
            self._entry("model", run.model),
            self._entry("attack", run.attack),
        ]
        lender = self.trained_as(run)
        if lender:
            methods.append(self._entry("attack", lender))
        by = [] if self._entry("attack", run.attack).can("brought") else ["training"]
        outputs = [folder / name for name in names]
        split = self._split(run)
        return self._job("train", (str(run),), inputs, outputs, methods, by, split)

    def features(self, run: Run) -> Job:
        """A victim's features of its training set, shared by the cells that need them."""
        path = layout.features(run)
        methods = [self._entry("dataset", run.dataset), self._entry("model", run.model)]
        return self._job(
            "features",
            (str(run),),
            [
                layout.prepared(run.dataset, "train"),
                layout.model(run),
                *self._poison(run),
                *self._elsewhere(self.settings.clean_sets),
            ],
            [path, path.with_name("provenance.json")],
            methods + self._of_elsewhere(self.settings.clean_sets),
            ["clean_set"],
        )

    def defend(self, run: Run, defense: str) -> Job:
        """One cell.

        Raises:
            ParamsError: there are several clean sets, and the name says none that is needed.
        """
        folder = layout.cell(run, defense)
        entry = self._entry("defense", defense)
        names = ["predictions.parquet", "scores.parquet", "provenance.json"]
        if entry.can("mitigates") and self.settings.keep_defended_models:
            names.append("model.safetensors")
        if self.plan.leaves_evidence(defense):
            names.append(layout.evidence(run, defense).name)
        features = [layout.features(run)] if self.plan.needs_features(defense) else []
        methods = [entry, self._entry("dataset", run.dataset), self._entry("model", run.model)]
        inputs = [*self._prepared(run), *self._victim(run), *features]
        if "clean_set" in entry.can("needs"):
            given = self.settings.clean_set_of(defense)
            if given is None:
                example = layout.given(defense, self.settings.clean_sets[0].name)
                raise ParamsError(f"defend: {defense} has a cell per clean set, as {example}")
            inputs += self._elsewhere([given])
            methods += self._of_elsewhere([given])
        return self._job(
            "defend",
            (str(run), defense),
            inputs,
            [folder / name for name in names],
            methods,
            ["training", "keep_defended_models"],
            self._clean_set(run, defense),
        )

    def evaluate(self, run: Run) -> Job:
        """Metrics of a run and its cells, from their tables."""
        defenses = self.plan.defenses[run]
        cells = [layout.cell(run, name) for name in defenses]
        inputs = [layout.victim(run) / "predictions.parquet", *self._poison(run)]
        inputs += [
            cell / name for cell in cells for name in ("predictions.parquet", "scores.parquet")
        ]
        outputs = [layout.metrics(run)]
        return self._job("evaluate", (str(run),), inputs, outputs, [])

    def analyze(self, run: Run, tool: str, of: str | None = None) -> Job:
        """One picture and its table: of a run, of one of its cells, or of its clean model.

        `of` is the cell's defense, or `layout.CLEAN_MODEL`; None for the victim.

        Raises:
            ParamsError: the tool has nothing to look at there.
        """
        reason = plans.why_no_picture(run, tool, of, self.settings, self.catalogue)
        if reason:
            raise ParamsError(f"analyze: {reason}")
        entry = self._entry("analysis", tool)
        inputs, methods, split = self._seen(run, entry, of)
        outputs = [layout.analysis(run, tool, suffix, of) for suffix in ("svg", "parquet")]
        arguments = (str(run), tool, *([of] if of else []))
        return self._job("analyze", arguments, inputs, outputs, [entry, *methods], (), split)

    def models_seen(self, run: Run, tool: Entry, of: str | None) -> dict[str, Path]:
        """The models that an analysis reads, by need; which is `model` depends on `of`."""
        paths = {"model": layout.model(run), "clean_model": layout.model(run.control)}
        if of == layout.CLEAN_MODEL:
            paths["model"] = paths["clean_model"]
        elif of:
            seen_as = "defended" if tool.can("scope") == "cell" else "model"
            paths[seen_as] = layout.defended(run, of)
        return {need: path for need, path in paths.items() if need in tool.can("needs")}

    def recorded(self, run: Run, defense: str) -> list[Path]:
        """The records of the jobs that a defense costs; features are shared, and count in full."""
        folders = [layout.cell(run, defense)]
        if self.plan.needs_features(defense):
            folders.append(layout.features(run).parent)
        return [folder / "provenance.json" for folder in folders]

    def _seen(
        self, run: Run, tool: Entry, of: str | None
    ) -> tuple[list[Path], list[Entry], dict[str, Any]]:
        """What an analysis reads: files, methods, and what the victim's images hang on."""
        needs = set(tool.can("needs"))
        inputs, methods = [layout.prepared(run.dataset, "test")], []
        models = self.models_seen(run, tool, of)
        if models:
            methods.append(self._entry("model", run.model))
        inputs += dict.fromkeys(models.values())
        if "cost" in needs and of:
            inputs += [layout.victim(run) / "provenance.json", *self.recorded(run, of)]
        if not needs.isdisjoint({"train_set", "triggered"}):
            inputs += self._poison(run)
        # The triggered images of a control are not in a file: its attacker marks them anew.
        marks = run.is_clean and "triggered" in needs
        if not marks and "train_set" not in needs:
            return inputs, methods, {}
        methods += [self._entry("attack", run.attack)] if marks else []
        methods.append(self._entry("dataset", run.dataset))
        return [*inputs, layout.prepared(run.dataset, "train")], methods, self._split(run)

    def report(self) -> Job:
        """The board, the plots and the page."""
        plan = self.plan
        inputs = [layout.metrics(run) for run in plan.runs]
        kept = ("provenance.json", "history.parquet")
        inputs += [layout.victim(run) / name for run in plan.runs for name in kept]
        inputs += [layout.features(run).with_name("provenance.json") for run in plan.featured]
        inputs += [layout.cell(run, name) / "provenance.json" for run, name in plan.cells]
        found = [(run, name) for run, name in plan.cells if plan.leaves_evidence(name)]
        inputs += [layout.evidence(run, name) for run, name in found]
        inputs += [layout.analysis(run, tool, "svg", of) for run, tool, of in plan.analyses]
        outputs = [layout.RESULTS / name for name in REPORT]
        settings = ["grid", *_METHODS, "training", "clean_set", "validity"]
        return self._job("report", (), inputs, outputs, [], settings)

    @property
    def known_runs(self) -> set[Run]:
        """Every run that a job may be of: the grid's, and those that they share something by."""
        runs = self.plan.runs
        return {*runs, *(run.control for run in runs)}.union(*map(self.shared.behind, runs))

    def trained_as(self, run: Run) -> str | None:
        """The attack whose recipe and augmentation a control has, where it is not its own."""
        return self.settings.fields("attack", run.attack).get("trained_as") or None

    def controls_training(self, run: Run) -> bool:
        """Whether the run's attack trains its victim itself."""
        return bool(self._entry("attack", run.attack).can("controls_training"))

    def _split(self, run: Run) -> dict[str, Any]:
        """What decides which images the victim is given: not how the defender's are shifted."""
        settings = self.settings
        deciding = settings.deciding(self._entry("dataset", run.dataset))
        fraction = {"clean_set.fraction": settings.as_given(deciding).get("fraction")}
        if settings.keeps_images:
            return fraction
        seen = {"clean_set.source": deciding.source}
        return fraction | seen if len(settings.clean_sets) == 1 else seen

    def _clean_set(self, run: Run, defense: str) -> dict[str, Any]:
        """What decides which images a cell's defender is given: not what else is on the list."""
        given = self.settings.clean_set_of(defense)
        own = {"clean_set": self.settings.as_given(given)} if given else {}
        return own if len(self.settings.clean_sets) == 1 else own | self._split(run)

    def _entry(self, kind: str, name: str) -> Entry:
        return self.catalogue.get(kind, name)

    def _prepared(self, run: Run) -> list[Path]:
        return [layout.prepared(run.dataset, split) for split in ("train", "test")]

    def _elsewhere(self, clean_sets: Iterable[CleanSet]) -> list[Path]:
        """What clean sets are drawn from, as far as those are other data sets."""
        return [layout.prepared(entry.name, "train") for entry in self._of_elsewhere(clean_sets)]

    def _of_elsewhere(self, clean_sets: Iterable[CleanSet]) -> list[Entry]:
        names = dict.fromkeys(each.dataset for each in clean_sets if each.dataset)
        return [self._entry("dataset", name) for name in names]

    def _attacker(self, run: Run) -> list[Path]:
        """What the attacker of a run reads beside the run's own data."""
        trigger = self.shared.trigger(run)
        return [*self.shared.attackers(run), *([layout.trigger(trigger)] if trigger else [])]

    def _poison(self, run: Run) -> list[Path]:
        return [] if run.is_clean else [layout.poison(run, self.controls_training(run))]

    def _victim(self, run: Run) -> list[Path]:
        return [layout.model(run), layout.victim(run) / "predictions.parquet", *self._poison(run)]

    def _raw(self, dataset: Entry) -> str:
        """A stamp of the user's own files; published sets are checked against what is known."""
        field = dataset.can("raw_field")
        if field is None:
            return ""
        if dataset.name not in self._stamps:
            path = layout.expand(self.settings.value(dataset, field))
            self._stamps[dataset.name] = raw_files.stamp(layout.raw() / path)
        return self._stamps[dataset.name]

    def _weights(self, methods: Sequence[Entry]) -> list[Path]:
        """The user's own weights of models; published ones are checked against what is known.

        Raises:
            ParamsError: there is no such file.
        """
        found: list[Path] = []
        for model in (method for method in methods if method.kind == "model"):
            field = model.can("weights_field")
            value = self.settings.value(model, field) if field else ""
            where = f"models.{model.name}.{field}"
            path = layout.own_weights(value, where)
            if path and not path.is_file():
                known = f"the path of one, or {layout.IMAGENET!r}"
                raise ParamsError(f"{where}: {path} is no file; allowed is {known}")
            found += [path] if path else []
        return found

    def _job(
        self,
        stage: str,
        arguments: tuple[str, ...],
        inputs: Sequence[Path],
        outputs: Sequence[Path],
        methods: Sequence[Entry],
        sections: Sequence[str] = (),
        given: Mapping[str, Any] = MappingProxyType({}),
        raw: str = "",
    ) -> Job:
        names = (f"{AXES[method.kind]}.{layout.defense_of(method.name)}" for method in methods)
        params = {key: self.settings.literal(key) for key in (*names, *sections)} | dict(given)
        params = {key: params[key] for key in sorted(params) if params[key] not in (None, {})}
        code = self._code(stage, methods)
        inputs = [*inputs, *self._weights(methods)]
        if stage in ("poison", "train"):
            attacks = (method for method in methods if method.kind == "attack")
            inputs += [path for attack in attacks for path in brought.files(attack, self.settings)]
        return Job(stage, arguments, tuple(inputs), tuple(outputs), params, code, raw)

    def _code(self, stage: str, methods: Sequence[Entry]) -> str:
        key = (stage, *(method.module for method in methods))
        if key not in self._codes:
            self._codes[key] = self.catalogue.code(stage, methods)
        return self._codes[key]


_SPLITS = ("train.safetensors", "test.safetensors")

# The sections whose changes the board names beside each row.
_METHODS = ("datasets", "models", "attacks", "defenses")

REPORT = (
    "board.parquet",
    "board.csv",
    "costs.csv",
    "summary.csv",
    "summary.md",
    "metrics.json",
    "statistics.csv",
    "statistics.json",
    "stability.csv",
    "clean_sets.csv",
    "training.csv",
    "population.csv",
    "population.md",
    "plots/asr.svg",
    "plots/c_acc.svg",
    "plots/clean_sets.svg",
    "plots/ranks.svg",
    "plots/roc.svg",
    "plots/stability.svg",
    "plots/tradeoff.svg",
    "report/index.html",
)


def from_params(path: Path = layout.PARAMS) -> Jobs:
    """The jobs of params.yaml."""
    catalogue = catalogues.load()
    return Jobs(plans.make(load(catalogue, path), catalogue))
