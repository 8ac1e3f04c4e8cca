"""Every job of the workflow: its command, the parameters it reads, its inputs and outputs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdb import layout
from bdb.jobs import catalogue as catalogues
from bdb.jobs import plan as plans
from bdb.jobs.catalogue import Catalogue, Entry
from bdb.jobs.plan import Plan
from bdb.layout import Run
from bdb.params import Settings, load


@dataclass(frozen=True)
class Job:
    """One command of the workflow.

    Attributes:
        params: the part of params.yaml that it reads, by dotted key.
        code: the identity of the code that it runs.
    """

    stage: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    params: dict[str, Any]
    code: str

    @property
    def command(self) -> str:
        """What a shell runs."""
        return shlex.join(("python", "-m", "bdb", self.stage, *self.arguments, "--code", self.code))


class Jobs:
    """The jobs of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.settings: Settings = plan.settings
        self.catalogue: Catalogue = plan.catalogue

    def prepare(self, dataset: str) -> Job:
        """Raw files to one safetensors per split."""
        outputs = [layout.prepared(dataset, split) for split in ("train", "test")]
        return self._job("prepare", (dataset,), [], outputs, [self._entry("dataset", dataset)])

    def poison(self, run: Run) -> Job:
        """The poisoned set, or the plan of a training-controlled attack."""
        inputs = self._prepared(run)
        if "clean_model" in self._entry("attack", run.attack).can("needs"):
            inputs.append(layout.model(run.control))
        methods = [self._entry("attack", run.attack), self._entry("dataset", run.dataset)]
        return self._job(
            "poison",
            (str(run),),
            inputs,
            [layout.poisoned(run)],
            methods,
            clean_set=self.settings.clean_set.model_dump(),
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
            clean_set=self.settings.clean_set.model_dump(),
            training=self.settings.training.model_dump(),
        )

    def defend(self, run: Run, defense: str) -> Job:
        """One cell."""
        folder = layout.cell(run, defense)
        entry = self._entry("defense", defense)
        names = ["predictions.parquet", "scores.parquet", "provenance.json"]
        if entry.can("mitigates") and self.settings.keep_defended_models:
            names.append("model.safetensors")
        methods = [entry, self._entry("dataset", run.dataset), self._entry("model", run.model)]
        return self._job(
            "defend",
            (str(run), defense),
            [*self._prepared(run), *self._victim(run)],
            [folder / name for name in names],
            methods,
            clean_set=self.settings.clean_set.model_dump(),
            training=self.settings.training.model_dump(),
            keep_defended_models=self.settings.keep_defended_models,
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
        return self._job("evaluate", (str(run),), inputs, outputs, [], defenses=list(defenses))

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
        inputs += [layout.cell(run, name) / "provenance.json" for run, name in plan.cells]
        inputs += [layout.analysis(run, tool, "svg") for run, tool in plan.analyses]
        outputs = [layout.RESULTS / name for name in REPORT]
        grid = self.settings.grid.model_dump(mode="json")
        return self._job("report", (), inputs, outputs, [], grid=grid)

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

    def _job(
        self,
        stage: str,
        arguments: tuple[str, ...],
        inputs: Sequence[Path],
        outputs: Sequence[Path],
        methods: Sequence[Entry],
        **params: Any,
    ) -> Job:
        for method in methods:
            fields = self.settings.fields(method.kind, method.name)
            params[f"{method.kind}.{method.name}"] = fields
        code = self.catalogue.code(stage, methods)
        return Job(stage, arguments, tuple(inputs), tuple(outputs), params, code)


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
