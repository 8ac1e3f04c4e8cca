"""Every job of the workflow: its command, the parameters it reads, its inputs and outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, starmap
from pathlib import Path

from bdb import layout
from bdb.jobs import catalogue as catalogues
from bdb.jobs import plan as plans
from bdb.jobs import raw as raw_files
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.jobs.job import Job
from bdb.jobs.plan import Plan
from bdb.layout import Run
from bdb.params import AXES, Settings, load

STAGES = (
    "prepare",
    "clean",
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
        stages: dict[str, Callable[[], Iterable[Job]]] = {
            "prepare": lambda: map(self.prepare, dict.fromkeys(run.dataset for run in plan.runs)),
            "clean": lambda: map(self.train, self._clean_runs()),
            "poison": lambda: map(self.poison, poisoned),
            "train": lambda: map(self.train, poisoned),
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

    def poison(self, run: Run) -> Job:
        """The poisoned set, or the plan of a training-controlled attack."""
        inputs = self._prepared(run)
        if self.needs_control(run):
            inputs.append(layout.model(run.control))
        methods = [self._entry("attack", run.attack), self._entry("dataset", run.dataset)]
        return self._job(
            "poison",
            (str(run),),
            inputs,
            [layout.poisoned(run), layout.poisoned(run).with_name("provenance.json")],
            methods,
            ["clean_set"],
        )

    def train(self, run: Run) -> Job:
        """A victim, or a clean model."""
        folder = layout.victim(run)
        names = ["model.safetensors", "predictions.parquet", "history.parquet", "provenance.json"]
        if self.controls_training(run):
            names.append("poison.safetensors")
        methods = [
            self._entry("dataset", run.dataset),
            self._entry("model", run.model),
            self._entry("attack", run.attack),
        ]
        return self._job(
            "train",
            (str(run),),
            self._prepared(run) + ([] if run.is_clean else [layout.poisoned(run)]),
            [folder / name for name in names],
            methods,
            ["clean_set", "training"],
        )

    def features(self, run: Run) -> Job:
        """A victim's features of its training set, shared by the cells that need them."""
        path = layout.features(run)
        methods = [self._entry("dataset", run.dataset), self._entry("model", run.model)]
        return self._job(
            "features",
            (str(run),),
            [layout.prepared(run.dataset, "train"), layout.model(run), *self._poison(run)],
            [path, path.with_name("provenance.json")],
            methods,
            ["clean_set"],
        )

    def defend(self, run: Run, defense: str) -> Job:
        """One cell."""
        folder = layout.cell(run, defense)
        entry = self._entry("defense", defense)
        names = ["predictions.parquet", "scores.parquet", "provenance.json"]
        if entry.can("mitigates") and self.settings.keep_defended_models:
            names.append("model.safetensors")
        features = [layout.features(run)] if self.plan.needs_features(defense) else []
        methods = [entry, self._entry("dataset", run.dataset), self._entry("model", run.model)]
        return self._job(
            "defend",
            (str(run), defense),
            [*self._prepared(run), *self._victim(run), *features],
            [folder / name for name in names],
            methods,
            ["clean_set", "training", "keep_defended_models"],
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

    def analyze(self, run: Run, tool: str) -> Job:
        """One picture and its table."""
        outputs = [layout.analysis(run, tool, suffix) for suffix in ("svg", "parquet")]
        methods = [self._entry("analysis", tool)]
        inputs = [layout.prepared(run.dataset, "test"), *self._victim(run)]
        return self._job("analyze", (str(run), tool), inputs, outputs, methods)

    def report(self) -> Job:
        """The board, the plots and the page."""
        plan = self.plan
        inputs = [layout.metrics(run) for run in plan.runs]
        inputs += [layout.victim(run) / "provenance.json" for run in plan.runs]
        inputs += [layout.features(run).with_name("provenance.json") for run in plan.featured]
        inputs += [layout.cell(run, name) / "provenance.json" for run, name in plan.cells]
        inputs += [layout.analysis(run, tool, "svg") for run, tool in plan.analyses]
        outputs = [layout.RESULTS / name for name in REPORT]
        settings = ["grid", *_METHODS, "training", "clean_set"]
        return self._job("report", (), inputs, outputs, [], settings)

    def _clean_runs(self) -> list[Run]:
        """The clean-model controls of the grid, and the clean models that attacks need."""
        runs = self.plan.runs
        return list(dict.fromkeys(r.control for r in runs if r.is_clean or self.needs_control(r)))

    def needs_control(self, run: Run) -> bool:
        """Whether the run's attack needs a clean model before it can poison."""
        return "clean_model" in self._entry("attack", run.attack).can("needs")

    def controls_training(self, run: Run) -> bool:
        """Whether the run's attack trains its victim itself."""
        return bool(self._entry("attack", run.attack).can("controls_training"))

    def _entry(self, kind: str, name: str) -> Entry:
        return self.catalogue.get(kind, name)

    def _prepared(self, run: Run) -> list[Path]:
        return [layout.prepared(run.dataset, split) for split in ("train", "test")]

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
            default = dataset.schema["properties"][field]["default"]
            path = self.settings.fields("dataset", dataset.name).get(field, default)
            self._stamps[dataset.name] = raw_files.stamp(layout.raw() / layout.expand(path))
        return self._stamps[dataset.name]

    def _job(
        self,
        stage: str,
        arguments: tuple[str, ...],
        inputs: Sequence[Path],
        outputs: Sequence[Path],
        methods: Sequence[Entry],
        sections: Sequence[str] = (),
        raw: str = "",
    ) -> Job:
        keys = [*(f"{AXES[method.kind]}.{method.name}" for method in methods), *sections]
        params = {key: self.settings.literal(key) for key in sorted(keys)}
        params = {key: value for key, value in params.items() if value not in (None, {})}
        code = self._code(stage, methods)
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
    "plots/asr.svg",
    "plots/c_acc.svg",
    "plots/tradeoff.svg",
    "report/index.html",
)


def from_params(path: Path = layout.PARAMS) -> Jobs:
    """The jobs of params.yaml."""
    catalogue = catalogues.load()
    return Jobs(plans.make(load(catalogue, path), catalogue))
