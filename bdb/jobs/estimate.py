"""How long what is left of a plan takes, and its place on disk.

Judged by jobs like it that are done here; where there is none, by figures that come with bdb
(costs.json, made by benchmarks/costs.py). What neither knows is said to be unknown.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from bdb import artifacts
from bdb.errors import ArtifactError
from bdb.jobs.job import Job
from bdb.jobs.jobs import Jobs
from bdb.jobs.plan import class_counts
from bdb.layout import Run
from bdb.training.recipes import resolve

SHIPPED = Path(__file__).with_name("costs.json")
_SAMPLES = 5  # done jobs of a kind that are looked at


class Kind(NamedTuple):
    """Jobs that cost alike.

    Attributes:
        method: the attack, the defense, or whatever else the stage is about.
        params: what they read of params.yaml, as JSON. Of a training under a recipe neither its
            length nor its images count, nor who poisoned them; see `Cost.per_image`.
    """

    stage: str
    dataset: str
    model: str
    method: str
    params: str


class Cost(NamedTuple):
    """What a job of a kind takes.

    Attributes:
        seconds: of one core or GPU; None if such jobs do not write it down.
        per_image: what a training takes beside, for each image of each epoch.
        bytes: of its outputs.
    """

    seconds: float | None
    per_image: float
    bytes: float


@dataclass
class Estimate:
    """What is planned, what is left of it, and what that costs.

    Attributes:
        planned: jobs by stage.
        left: jobs by stage whose outputs are missing, outdated, or made from such.
        seconds: that the jobs take which are left and of whose kind something is known.
        bytes: that their outputs take.
        judged_by: how many done jobs this was judged by.
        by_shipped: jobs that are left and were judged by the figures that come with bdb.
        machine: where these were measured.
        untimed: jobs that are left and of a kind that does not write its time down.
        unknown: jobs that are left and of whose kind nothing is known, by stage and method.
    """

    planned: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    bytes: float = 0.0
    judged_by: int = 0
    by_shipped: int = 0
    machine: str = ""
    untimed: int = 0
    unknown: Counter[str] = field(default_factory=Counter)


def make(jobs: Jobs) -> Estimate:
    """Look at the outputs that lie here; nothing is computed, no content compared."""
    left, past = look(jobs)
    shipped, machine = read(SHIPPED)
    estimate = Estimate(machine=machine)
    estimate.planned.update(job.stage for job in jobs)
    estimate.left.update(job.stage for job in left)
    by_kind: dict[Kind, list[Job]] = defaultdict(list)
    for job in left:
        by_kind[kind_of(jobs, job)].append(job)
    for kind, alike in by_kind.items():
        if kind in past:
            estimate.judged_by += len(past[kind])
        elif kind in shipped:
            estimate.by_shipped += len(alike)
        else:
            estimate.unknown[" ".join(filter(None, (kind.stage, _method(alike[0]))))] += len(alike)
            continue
        cost = mean(past[kind]) if kind in past else shipped[kind]
        _add(estimate, cost, [_images(jobs, job) for job in alike])
    return estimate


def look(jobs: Jobs) -> tuple[list[Job], dict[Kind, list[Cost]]]:
    """The jobs that are left, and by kind what some of those took whose outputs lie here."""
    left, due, past = list[Job](), set[Path](), dict[Kind, list[Cost]]()
    for job in jobs:
        record = _record(job)
        is_here = _is_here(job, record)
        if is_here:
            found = past.setdefault(kind_of(jobs, job), [])
            if len(found) < _SAMPLES:
                found.append(_cost(jobs, job, record or {}))
        if not is_here or not _is_current(job, record) or not due.isdisjoint(job.inputs):
            left.append(job)
            due.update(job.outputs)
    return left, past


def mean(costs: Iterable[Cost]) -> Cost:
    """Of several jobs of a kind."""
    seconds, per_image, sizes = zip(*costs, strict=True)
    timed = [each for each in seconds if each is not None]
    return Cost(fmean(timed) if timed else None, fmean(per_image), fmean(sizes))


def read(path: Path) -> tuple[dict[Kind, Cost], str]:
    """The costs that benchmarks/costs.py wrote down, and where they were measured."""
    kept = artifacts.read_json(path)
    costs = {
        Kind(row["stage"], row["dataset"], row["model"], row["method"], _text(row["params"])): Cost(
            row["seconds"], row["per_image"], row["bytes"]
        )
        for row in kept["jobs"]
    }
    return costs, kept["machine"]


def kind_of(jobs: Jobs, job: Job) -> Kind:
    """The kind of a job of a plan."""
    run = _run(job)
    if run is None:
        return Kind(job.stage, _method(job), "", "", _text(job.params))
    if not _is_by_recipe(jobs, job):
        return Kind(job.stage, run.dataset, run.model, _method(job), _text(job.params))
    own = [f"attacks.{run.attack}"] if jobs.controls_training(run) else []
    keys = [f"datasets.{run.dataset}", f"models.{run.model}", *own]
    params = {key: dict(job.params[key]) for key in keys if key in job.params}
    params.setdefault(keys[0], {}).pop("train_share", None)
    given = jobs.settings.training
    params["training"] = {"recipe": given.recipe, **given.overrides}
    params["training"].pop("epochs", None)
    kept = {key: fields for key, fields in params.items() if fields}
    return Kind(job.stage, run.dataset, run.model, run.attack if own else "", _text(kept))


def _add(estimate: Estimate, cost: Cost, images: list[int]) -> None:
    """Add what jobs of a kind take, each of which sees so many images."""
    estimate.bytes += len(images) * cost.bytes
    if cost.seconds is None:
        estimate.untimed += len(images)
    else:
        estimate.seconds += len(images) * cost.seconds + cost.per_image * sum(images)


def _text(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _run(job: Job) -> Run | None:
    """The run that a job is of; none of what all runs of a data set share, and of the report."""
    return Run.parse(job.arguments[0]) if job.arguments and "/" in job.arguments[0] else None


def _method(job: Job) -> str:
    """What its stage is about."""
    run = _run(job)
    return [*job.arguments, ""][0] if run is None else [*job.arguments, run.attack][1]


def _is_by_recipe(jobs: Jobs, job: Job) -> bool:
    """Whether it trains for as many epochs as the recipe says, whichever attack is made."""
    run = _run(job)
    if job.stage != "train" or run is None:
        return False
    attack = jobs.catalogue.get("attack", run.attack)
    departs = any(map(attack.can, ("brought", "edits_model", "changes_training")))
    return not departs and (run.is_shared or not run.is_clean)


def _images(jobs: Jobs, job: Job) -> int:
    """How many images a training sees in all its epochs."""
    run = _run(job)
    if run is None or not _is_by_recipe(jobs, job):
        return 0
    given, changed = jobs.settings.training, jobs.catalogue.get("dataset", run.dataset)
    epochs = resolve(given.recipe, given.overrides, changed.can("recipes")).epochs
    return epochs * _train_images(jobs, run)


def _train_images(jobs: Jobs, run: Run) -> int:
    """Of a data set that does not say how many it has, all counts are of whole epochs."""
    return sum(class_counts(run, jobs.settings, jobs.catalogue) or [1])


def _record(job: Job) -> dict[str, Any] | None:
    """The provenance of a job that writes one: nothing in it if it cannot be read."""
    path = next((path for path in job.outputs if path.name == "provenance.json"), None)
    if path is None:
        return None
    try:
        record = artifacts.read_json(path) if path.is_file() else {}
    except ArtifactError:
        return {}
    return record if isinstance(record, dict) else {}


def _is_here(job: Job, record: dict[str, Any] | None) -> bool:
    """Whether a job's outputs are here, and those of its parameters if they say so."""
    if not all(path.is_file() for path in job.outputs):
        return False
    return record is None or record.get("params") == job.params


def _is_current(job: Job, record: dict[str, Any] | None) -> bool:
    """Whether they were made by its code, or blessed under it, if they say so."""
    blessed = (record or {}).get("blessed")
    blessings = blessed if isinstance(blessed, list) else []
    codes = [each.get("under") for each in blessings if isinstance(each, dict)]
    return record is None or job.code in [record.get("code"), *codes]


def _cost(jobs: Jobs, job: Job, record: dict[str, Any]) -> Cost:
    """What a job took whose outputs lie here; of a training that of its images apart."""
    size, run = sum(path.stat().st_size for path in job.outputs), _run(job)
    try:
        cores = int(record.get("threads", 1)) if record.get("device", "cpu") == "cpu" else 1
        seconds = cores * float(record["seconds"])
        epochs = [cores * float(each) for each in record.get("epoch_seconds", ())]
    except (KeyError, TypeError, ValueError):
        return Cost(None, 0.0, size)
    if run is None or not epochs or not _is_by_recipe(jobs, job):
        return Cost(seconds, 0.0, size)
    per_image = sum(epochs) / len(epochs) / _train_images(jobs, run)
    return Cost(seconds - sum(epochs), per_image, size)
