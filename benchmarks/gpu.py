"""All that is wanted of one GPU, within some minutes, with neither Snakemake nor DVC.

What matters most comes first; what probably does not fit is not started; every step's result is
written at once. The last thing printed are the targets, each with what was measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import common
import pandas as pd
import torch
import training
import triggers
from common import Record, figure, value
from inputs import Inputs, describe, is_there, load, poisoned
from project import Project, grid
from session import together
from session.budget import Budget
from session.summary import table, targets

from bdb import artifacts, layout, registry
from bdb.errors import DataError
from bdb.jobs.job import Job
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.metrics import classification
from bdb.report import board as boards
from bdb.stages import evaluate
from bdb.testing import quick
from bdb.training import device as devices

DATASET, MODEL, QUICK = "cifar10", "preactresnet18", "airbench94"
RECIPES = ("airbench", "fast", "paper")
ATTACKS = ("badnets", "blended", "lf", "inputaware", "wanet", "sig")
DEFENSES = ("ft", "fp", "nad", "nc", "clp", "abl")
QUICK_ATTACKS = ("none", "badnets")
SEEDS = (0, 1, 2)
RATIOS = {"*": [0.1], "sig": [0.05]}
AT_ONCE = {"airbench": [1, 2, 4, 8], "paper": [1, 2, 4], "fast": [1, 2, 4]}
# These read what is there when the time is up; see `make_board`.
AT_THE_END = ("evaluate", "analyze", "report")


@dataclass(frozen=True)
class Scale:
    """How much of everything: the real thing, or its rehearsal."""

    width: int
    width_factor: float
    images: int
    seconds: float
    epochs: dict[str, int]

    def network(self, recipe: str) -> tuple[str, dict[str, Any]]:
        """The model that is trained under a recipe, and its fields."""
        if recipe == "airbench":
            return QUICK, {"width_factor": self.width_factor}
        return MODEL, {"width": self.width}


REAL = Scale(width=64, width_factor=1, images=50_000, seconds=20, epochs={})
REHEARSAL = Scale(
    width=4,
    width_factor=0.0625,
    images=2_000,
    seconds=2,
    epochs={"paper": 3, "fast": 2, "airbench": 2},
)


class Bench:
    """One session: the projects in which it works, and what it has measured."""

    def __init__(self, args: Namespace, device: torch.device, folder: Path) -> None:
        self.scale = REHEARSAL if args.rehearse else REAL
        self.device = device
        self.report = common.Report("gpu", args, device)
        self.budget = Budget(60 * args.minutes, self.report.add)
        self.projects = {
            name: Project(folder / name, params(name, self.scale, args.rehearse))
            for name in RECIPES
        }
        self.rows: dict[str, Record] = {}
        self.victims: list[Record] = []
        self.seconds: dict[str, float] = {}

    def prepare(self, data: Path, rehearse: bool) -> Inputs:
        """Prepare the data once for all projects."""
        fast = self.projects["fast"]
        if rehearse:
            write_prepared(fast.folder, data, self.scale.images)
        else:
            fast.do(fast.jobs.prepare(DATASET))
        for other in (self.projects[name] for name in RECIPES if name != "fast"):
            (other.folder / "data").symlink_to(fast.folder / "data", target_is_directory=True)
        inputs = poisoned(data, self.scale.images, self.scale.images // 5)
        self.report.add(what=f"{inputs.what}, {MODEL} of width {self.scale.width}")
        return inputs

    def paces(self, inputs: Inputs) -> None:
        """The recipes' paces and the baseline's, which tell how long whole trainings will take."""
        seconds, workers = self.scale.seconds, common.workers()
        actions: dict[str, Callable[[], Record]] = {
            name: partial(training.measure, self.subject(inputs, name), name, seconds / 3)
            for name in RECIPES
        }
        usual = self.subject(inputs, "paper")
        actions[training.BASELINE] = partial(training.measure_baseline, usual, workers, seconds)
        for name, action in actions.items():
            row = self.budget.step(f"pace of {name}", 2 * seconds, action)
            if row:
                self.rows[name] = row
                self.report.add(loops=training.compare(list(self.rows.values())))

    def train(self, recipe: str, seed: int, attack: str = "badnets") -> None:
        """A whole victim, or the control."""
        project = self.projects[recipe]
        victim = run_of(project.jobs, attack, seed)
        known = self.seconds.get(f"train {recipe}", self.projected(recipe))
        name = f"train {recipe} {attack} seed {seed}"
        spent = self.budget.step(name, 1.2 * known + 5, lambda: train_victim(project, victim))
        if spent:
            self.seconds[f"train {recipe}"] = spent
            self.victims.append(facts_of(project, victim, recipe))
            self.report.add(victims=self.victims, targets=targets(self.report.record))

    def projected(self, recipe: str) -> float:
        """Seconds of a whole training at the measured pace; a guess without one."""
        row = self.rows.get(recipe)
        if row is None:
            return 60.0
        epochs: int = self.scale.epochs.get(recipe) or row["epochs"]
        return value(row["start_up"]) + epochs * value(row["epoch"])

    def quick(self) -> None:
        """The network that is made for speed: its control, and a victim."""
        self.train("airbench", SEEDS[0], "none")
        self.train("airbench", SEEDS[0])

    def more_seeds(self) -> None:
        """What one seed cannot tell."""
        for seed in SEEDS[1:]:
            self.train("fast", seed)

    def at_once(self, inputs: Inputs) -> None:
        """How much several processes on this device train in all."""
        found: list[Record] = []
        for name, counts in AT_ONCE.items():
            if name in self.rows:
                found += self.counts(self.subject(inputs, name), self.rows[name], counts)
                self.report.add(jobs=found)

    def counts(
        self, subject: training.Subject, row: Record, at_once: list[int]
    ) -> Iterator[Record]:
        """One, two and more processes under a recipe."""
        seconds = self.scale.seconds / 4
        for jobs in at_once:
            measure = partial(next, together.together(subject, row, [jobs], seconds))
            name = f"{jobs} at once, {row['loop']}"
            done = self.budget.step(name, 15 + 2 * jobs * seconds, measure)
            if done:
                yield done

    def stamps(self) -> None:
        """How fast triggers are stamped."""

        def measure() -> None:
            rows = triggers.measure_all(self.device, [128, 2048], self.scale.seconds / 20)
            self.report.add(attacks=dict(rows))

        self.budget.step("triggers", 30, measure)

    def cells(self) -> None:
        """Victims of every attack with their cells, attack by attack."""
        project = self.projects["fast"]
        every = list(project.jobs)
        for attack in ATTACKS:
            for job in jobs_of(project.jobs, every, run_of(project.jobs, attack)):
                self.do(project, job)
            self.write_board()

    def do(self, project: Project, job: Job) -> None:
        """A job of the grid, unless it is done or cannot be."""
        if project.is_done(job):
            return
        if not project.is_ready(job):
            self.budget.skip(job.name, "what it reads was not made")
            return
        spent = self.budget.step(job.name, self.estimate(job), lambda: project.do(job))
        if spent:
            self.seconds |= dict.fromkeys(self.kinds(job), spent)

    def estimate(self, job: Job) -> float:
        """Seconds: what the last such job took, or a guess from what a victim took."""
        known = [self.seconds[kind] for kind in self.kinds(job) if kind in self.seconds]
        if known:
            return 1.2 * known[0] + 1
        victim = self.seconds.get("train fast", 30.0)
        return (5.0 if self.is_slow(job) else 1.5) * victim

    def kinds(self, job: Job) -> list[str]:
        """What other jobs take about as long: those of its method, and mostly of its stage."""
        if job.arguments[1:]:
            return [" ".join((job.stage, *job.arguments[1:]))]
        own = f"{job.stage} {Run.parse(job.arguments[0]).attack}"
        return [own] if self.is_slow(job) else [own, job.stage]

    def is_slow(self, job: Job) -> bool:
        """Whether an attacker controls the training, which may double every step."""
        controls = self.projects["fast"].jobs.controls_training(Run.parse(job.arguments[0]))
        return job.stage == "train" and controls

    def write_board(self) -> None:
        """The board of all that is done."""
        tables = [make_board(project) for project in self.projects.values()]
        board = pd.concat([table for table in tables if len(table)] or tables[:1])
        board["git"] = self.report.record["machine"]["git"]
        path = self.report.path
        path = path.with_name(path.stem.replace("gpu", "board", 1) + ".csv")
        artifacts.write_text(path, board.to_csv(index=False, lineterminator="\n"))
        columns = ["recipe", *boards.KEYS, *boards.RATES[:3], *boards.COSTS]
        rows = board[columns].astype(object).where(board[columns].notna(), None)
        self.report.add(board=rows.to_dict("records"))

    def subject(self, inputs: Inputs, recipe: str) -> training.Subject:
        """What the loops train."""
        return training.Subject(inputs, *self.scale.network(recipe), self.device)


def params(recipe: str, scale: Scale, rehearse: bool) -> dict[str, Any]:
    """params.yaml under a recipe; a rehearsal shortens every method."""

    def shortened(kind: str, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: quick(registry.get(kind, name)) for name in names} if rehearse else {}

    epochs = {"epochs": scale.epochs[recipe]} if recipe in scale.epochs else {}
    model, fields = scale.network(recipe)
    return {
        "grid": grid(
            dataset=DATASET,
            model=model,
            attack=list(QUICK_ATTACKS if recipe == "airbench" else ATTACKS),
            poison_ratio=RATIOS,
            seed=list(SEEDS),
            defense=list(DEFENSES),
        ),
        "models": {model: fields},
        "attacks": shortened("attack", ATTACKS),
        "defenses": shortened("defense", DEFENSES),
        "training": {"recipe": recipe, **epochs},
        "clean_set": {"source": "seen"},
        "keep_defended_models": False,
    }


def run_of(jobs: Jobs, attack: str, seed: int = 0) -> Run:
    """An attack's victim."""
    return next(run for run in jobs.plan.runs if (run.attack, run.seed) == (attack, seed))


def write_prepared(folder: Path, data: Path, images: int) -> None:
    """A few images, as `prepare` would write the whole set."""
    raw, _ = load(data, images, images // 5)
    metadata = {"data": describe(raw.classes).model_dump(mode="json"), "origin": {}}
    for name, split in (("train", raw.train), ("test", raw.test)):
        tensors = {"images": split.images, "labels": split.labels}
        artifacts.write_tensors(folder / layout.prepared(DATASET, name), tensors, metadata)


def train_victim(project: Project, run: Run) -> float:
    """Poison, unless this is the control, and train; seconds of the training job."""
    if not run.is_clean:
        project.do(project.jobs.poison(run))
    return project.do(project.jobs.train(run))


def jobs_of(jobs: Jobs, every: list[Job], run: Run) -> Iterator[Job]:
    """A run's jobs in the order of the plan, those of what it shares with others first."""
    names = {str(run), *map(str, jobs.shared.behind(run))}
    for job in every:
        if job.arguments and job.arguments[0] in names and job.stage not in AT_THE_END:
            yield job


def facts_of(project: Project, run: Run, recipe: str) -> Record:
    """What a victim can do, and what it took."""
    record = project.read(layout.victim(run) / "provenance.json")
    table = artifacts.read_table(project.folder / layout.victim(run) / "predictions.parquet")
    epochs = record["epoch_seconds"]
    tensors, _ = artifacts.read_tensors(project.folder / layout.prepared(DATASET, "train"))
    paces = [len(tensors["labels"]) / max(seconds, 1e-3) for seconds in epochs]
    return {
        "recipe": recipe,
        "run": str(run),
        "seed": run.seed,
        "epochs": len(epochs),
        "throughput": figure(median(paces), "images/s", paces),
        "training": figure(sum(epochs), "s"),
        "job": figure(record["seconds"], "s"),
        "memory": figure(record["memory_mb"], "MiB"),
        **common.percents(classification.rates(table)),
    }


def make_board(project: Project) -> pd.DataFrame:
    """The board of the victims and cells that are done, which may be part of the plan."""
    jobs = project.jobs
    runs = [run for run in jobs.plan.runs if project.is_done(jobs.train(run))]
    cells = [
        (run, name)
        for run, name in jobs.plan.cells
        if run in runs and project.is_done(jobs.defend(run, name))
    ]
    plan = replace(jobs.plan, runs=tuple(runs), cells=tuple(cells), analyses=())
    with chdir(project.folder):
        for run in runs:
            evaluate.run(Jobs(plan), run)
        return boards.make(plan)


def unpack(script: Path | None, data: Path) -> None:
    """Unpack CIFAR-10 if it is not there.

    Raises:
        DataError: it is not there then, either.
    """
    if script and not is_there(data):
        subprocess.run([sys.executable, str(script), str(data), DATASET], check=True)
    if not is_there(data):
        raise DataError(f"no cifar-10-batches-py below {data}; set --data, or --unpack")


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    common.add_data(made)
    made.add_argument("--minutes", type=float, default=9.0, help="hard budget, imports apart")
    made.add_argument("--rehearse", action="store_true", help="a tiny model, few images and epochs")
    made.add_argument(
        "--unpack", type=Path, help="script that is called with a folder and `cifar10` to fill it"
    )
    made.add_argument(
        "--steps",
        nargs="+",
        choices=STEPS,
        default=list(STEPS),
        help="what to do, always in this order",
    )
    made.set_defaults(out=Path(os.environ.get("OUT") or common.RESULTS))
    made.description = f"{made.description} Here --out is a folder."
    return made


STEPS = ("pace", "airbench", "jobs", "fast", "paper", "seeds", "triggers", "cells")


def measure_all(bench: Bench, inputs: Inputs, steps: list[str]) -> None:
    """Everything, what matters most first."""
    actions = {
        "pace": lambda: bench.paces(inputs),
        "airbench": bench.quick,
        "fast": lambda: bench.train("fast", SEEDS[0]),
        "paper": lambda: bench.train("paper", SEEDS[0]),
        "seeds": bench.more_seeds,
        "jobs": lambda: bench.at_once(inputs),
        "triggers": bench.stamps,
        "cells": bench.cells,
    }
    for name in STEPS:
        if name in steps:
            actions[name]()
    bench.write_board()


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    device = common.pick_device(args)
    name = "rehearsal" if args.rehearse else common.slug(devices.name(device))
    args.out = args.out / f"gpu-{name}.json"
    common.use_data(args)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, device, Path(folder))
        if not args.rehearse:
            unpack(args.unpack, args.data)
        inputs = bench.prepare(args.data, args.rehearse)
        measure_all(bench, inputs, args.steps)
        bench.report.add(targets=targets(bench.report.record))
    bench.report.finish(table)


if __name__ == "__main__":
    main()
