"""Speed of training: bdb's loop under its recipes, beside a plain DataLoader loop, in the same run.

Without --full each loop runs for some seconds, and the time to the end is projected from its pace.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import common
import torch
from baseline import Baseline
from common import REPEATS, Record, figure, median_of, value
from inputs import Inputs, poisoned

from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.training import device as devices
from bdb.training import inference, loop
from bdb.training.recipes import RECIPES, Recipe

WARM_UP_STEPS = 5
BASELINE = "baseline"


@dataclass(frozen=True)
class Pace:
    """How fast steps come.

    Attributes:
        warm_up: seconds of the first steps, which count nowhere else.
        warmed: images in them.
        rates: images/s of equal parts of the steps after them.
    """

    warm_up: float
    warmed: int
    rates: list[float]

    @property
    def rate(self) -> float:
        """Images/s."""
        return median(self.rates)

    @property
    def start_up(self) -> float:
        """Seconds of the warm-up beyond what its images take later."""
        return max(0.0, self.warm_up - self.warmed / self.rate)


def pace(steps: Iterable[int], seconds: float, warm_up: int = WARM_UP_STEPS) -> Pace:
    """Take steps, each of which gives its number of images, for about so many seconds."""
    start = time.perf_counter()
    endless = iter(steps)
    warmed = sum(islice(endless, warm_up))
    begin = time.perf_counter()
    marks = [(begin, 0)]
    for images in endless:
        marks.append((time.perf_counter(), images))
        if len(marks) > REPEATS and marks[-1][0] - begin > seconds:
            break
    return Pace(begin - start, warmed, _rates(marks))


def _rates(marks: list[tuple[float, int]]) -> list[float]:
    """Images/s of equal parts of a list of (time, images since the mark before)."""
    edges = [round(part * (len(marks) - 1) / REPEATS) for part in range(REPEATS + 1)]
    return [
        sum(images for _, images in marks[first + 1 : last + 1])
        / (marks[last][0] - marks[first][0])
        for first, last in pairwise(edges)
    ]


@dataclass(frozen=True)
class Subject:
    """What is trained, and where."""

    inputs: Inputs
    architecture: str
    fields: dict[str, Any]
    device: torch.device

    @property
    def spec(self) -> ModelSpec:
        """Of the model."""
        return ModelSpec(architecture=self.architecture, fields=self.fields, data=self.inputs.data)

    def build(self) -> Classifier:
        """A fresh model on the device."""
        model = models.build(self.spec, seed=0)
        devices.place(model, self.device)
        return model

    @property
    def evaluated(self) -> int:
        """Images of both test sets."""
        return len(self.inputs.test) + len(self.inputs.triggered.ids)


def measure_baseline(subject: Subject, workers: int, seconds: float) -> Record:
    """The plain loop's pace in training and in evaluation."""
    start = time.perf_counter()
    baseline = Baseline(
        subject.inputs, subject.architecture, subject.fields, subject.device, workers
    )
    built = time.perf_counter() - start
    trained = pace(_endless(baseline.train), 0.75 * seconds)
    tested = pace(_endless(baseline.evaluate), 0.25 * seconds)
    epoch, evaluation = _seconds(subject, trained.rate, tested.rate)
    epochs = baseline.schedule.epochs
    start_up = built + trained.start_up
    return {
        **_facts(BASELINE, subject, baseline.schedule.batch_size, "float32"),
        "workers": workers,
        "evaluations": epochs,
        "warm_up": figure(trained.warm_up, "s"),
        "throughput": median_of(trained.rates, "images/s"),
        "evaluation_throughput": median_of(tested.rates, "images/s"),
        **_to_end(start_up, epochs, epoch, epochs * evaluation, "projected"),
    }


def run_baseline(subject: Subject, workers: int) -> Record:
    """The plain loop's whole schedule."""
    start = time.perf_counter()
    baseline = Baseline(
        subject.inputs, subject.architecture, subject.fields, subject.device, workers
    )
    start_up = time.perf_counter() - start
    epochs, evaluations = [], []
    for _ in range(baseline.schedule.epochs):
        epochs.append(_spent(baseline.train()))
        evaluations.append(_spent(baseline.evaluate()))
    batch = baseline.schedule.batch_size
    images = len(subject.inputs.train) // batch * batch
    return {
        **_facts(BASELINE, subject, batch, "float32"),
        "workers": workers,
        "evaluations": len(epochs),
        "throughput": median_of([images / seconds for seconds in epochs], "images/s"),
        **_measured_to_end(start_up, epochs, sum(evaluations)),
        **common.percents(baseline.rates),
    }


def measure(subject: Subject, name: str, seconds: float) -> Record:
    """The pace of bdb's loop under a recipe: epochs over as many images as the time allows."""
    recipe = RECIPES[name]
    rough = _fit(subject, recipe, 2 * recipe.batch_size, 2)[1][-1]
    budget = 2 * recipe.batch_size / rough.seconds * seconds / (REPEATS + 1)
    batches = max(2, round(budget / recipe.batch_size))
    size = min(batches * recipe.batch_size, len(subject.inputs.train))
    start_up, history = _fit(subject, recipe, size, REPEATS + 1)
    rates = [size / record.seconds for record in history[1:]]
    tested = _pace_of_tests(subject, 0.25 * seconds)
    epoch, evaluation = _seconds(subject, median(rates), tested)
    start_up += max(0.0, history[0].seconds - size / median(rates))
    return {
        **_facts(name, subject, recipe.batch_size, _precision(subject.device)),
        "evaluations": 1,
        "warm_up": figure(history[0].seconds, "s"),
        "throughput": median_of(rates, "images/s"),
        **_to_end(start_up, recipe.epochs, epoch, evaluation, "projected"),
    }


def run(subject: Subject, name: str) -> Record:
    """The whole of a recipe."""
    recipe, inputs = RECIPES[name], subject.inputs
    model = subject.build()
    start_up, history = _fit(subject, recipe, len(inputs.train), recipe.epochs, model)
    start = time.perf_counter()
    rates = {
        "c_acc": inference.accuracy(model, inputs.test.images, inputs.test.labels),
        "asr": inference.accuracy(model, inputs.triggered.images, inputs.triggered.targets),
    }
    evaluation = time.perf_counter() - start
    epochs = [record.seconds for record in history]
    return {
        **_facts(name, subject, recipe.batch_size, _precision(subject.device)),
        "evaluations": 1,
        "throughput": median_of([len(inputs.train) / seconds for seconds in epochs], "images/s"),
        **_measured_to_end(start_up, epochs, evaluation),
        **common.percents(rates),
    }


def compare(rows: list[Record]) -> list[Record]:
    """The same rows with their ratios to the baseline of the same model."""
    baselines = {str(row["fields"]): row for row in rows if row["loop"] == BASELINE}
    return [row | {"ratios": _ratios(row, baselines.get(str(row["fields"])))} for row in rows]


def _ratios(row: Record, baseline: Record | None) -> Record:
    if baseline is None or row is baseline:
        return {}
    pairs = {
        "throughput": value(row["throughput"]) / value(baseline["throughput"]),
        "throughput_with_evaluations": _whole_pace(row) / _whole_pace(baseline),
        "to_end": value(baseline["to_end"]) / value(row["to_end"]),
    }
    return {name: figure(ratio, "x") for name, ratio in pairs.items()}


def _whole_pace(row: Record) -> float:
    """Images/s when the time of the evaluations counts, too."""
    spent = row["epochs"] * value(row["epoch"]) + value(row["all_evaluations"])
    return float(row["train_images"] * row["epochs"] / spent)


def together(subject: Subject, row: Record, jobs: list[int], seconds: float) -> Iterator[Record]:
    """Total throughput of so many processes that train at the same time on one device.

    Args:
        subject: what each of them trains.
        row: what `measure` said of the recipe.
        jobs: how many at once, one after the other.
        seconds: that one process alone should take.
    """
    size = min(round(value(row["throughput"]) * seconds / REPEATS), len(subject.inputs.train))
    task = {
        "architecture": subject.architecture,
        "fields": subject.fields,
        "recipe": row["loop"],
        "device": str(subject.device),
        "images": max(size, 2 * row["batch_size"]),
        "epochs": REPEATS + 1,
    }
    for count in jobs:
        threads = max(1, torch.get_num_threads() // count)
        done = _at_once(task | {"threads": threads}, count)
        total = sum(each["images"] for each in done) / max(each["seconds"] for each in done)
        yield {
            "jobs": count,
            "loop": row["loop"],
            "threads": threads,
            "throughput": figure(total, "images/s"),
            "throughput_of_each": [
                figure(each["images"] / each["seconds"], "images/s") for each in done
            ],
        }


def _at_once(task: Record, count: int) -> list[Record]:
    """Start workers, let them go when all are warm, and collect what they report."""
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), json.dumps(task)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for worker in workers:
            _said(worker)
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [_said(worker) for worker in workers]
    finally:
        for worker in workers:
            worker.communicate()


def _said(worker: subprocess.Popen[str]) -> Any:
    """The next line that a worker prints."""
    line = worker.stdout.readline() if worker.stdout else ""
    if not line:
        raise RuntimeError(f"a process that trains ended with code {worker.wait()}")
    return json.loads(line)


def _fit(
    subject: Subject, recipe: Recipe, images: int, epochs: int, model: Classifier | None = None
) -> tuple[float, list[loop.EpochRecord]]:
    """Seconds outside the epochs, and the epochs."""
    start = time.perf_counter()
    history = loop.fit(
        model or subject.build(),
        subject.inputs.train[torch.arange(images)],
        recipe.model_copy(update={"epochs": epochs}),
        seed=0,
        augmentation=subject.inputs.data.augmentation,
    )
    spent = time.perf_counter() - start
    return spent - sum(record.seconds for record in history), history


def _pace_of_tests(subject: Subject, seconds: float) -> float:
    """Images/s of bdb's evaluation."""
    model, images = subject.build(), subject.inputs.test.images

    def tests() -> Iterator[int]:
        for part in images.split(inference.BATCH):
            inference.logits(model, part)
            yield len(part)

    return pace(_endless(tests), seconds, warm_up=1).rate


def _endless(epoch: Any) -> Iterator[int]:
    return chain.from_iterable(iter(epoch, None))


def _spent(epoch: Iterable[int]) -> float:
    start = time.perf_counter()
    for _ in epoch:
        pass
    return time.perf_counter() - start


def _seconds(subject: Subject, train_rate: float, test_rate: float) -> tuple[float, float]:
    """Of an epoch, and of an evaluation of both test sets."""
    return len(subject.inputs.train) / train_rate, subject.evaluated / test_rate


def _facts(name: str, subject: Subject, batch_size: int, precision: str) -> Record:
    return {
        "loop": name,
        "model": subject.architecture,
        "fields": subject.fields,
        "batch_size": batch_size,
        "precision": precision,
        "train_images": len(subject.inputs.train),
    }


def _precision(device: torch.device) -> str:
    return "bfloat16" if devices.has_fast_bf16(device) else "float32"


def _to_end(start_up: float, epochs: int, epoch: float, evaluations: float, kind: str) -> Record:
    return {
        "start_up": figure(start_up, "s"),
        "epochs": epochs,
        "epoch": figure(epoch, "s"),
        "all_evaluations": figure(evaluations, "s"),
        "to_end": figure(start_up + epochs * epoch + evaluations, "s") | {"kind": kind},
    }


def _measured_to_end(start_up: float, epochs: list[float], evaluations: float) -> Record:
    mean = sum(epochs) / len(epochs)
    record = _to_end(start_up, len(epochs), mean, evaluations, "measured")
    return record | {"epoch": figure(mean, "s", epochs)}


def table(record: Record) -> str:
    """One row per loop, and what several at once give."""
    results = record["results"]
    header = (
        *("model", "loop", "images/s", "s to the end", "how", "images/s x"),
        *("with evaluations x", "to the end x", "C-Acc %", "ASR %"),
    )
    text = common.markdown(header, map(_row, results.get("loops", ())))
    if results.get("jobs"):
        rows = [(each["jobs"], each["loop"], value(each["throughput"])) for each in results["jobs"]]
        text += "\n" + common.markdown(("at once", "loop", "images/s in all"), rows)
    return text


def _row(row: Record) -> tuple[object, ...]:
    fields = ", ".join(f"{key} {field}" for key, field in row["fields"].items())
    ratios = [
        value(row["ratios"].get(name))
        for name in ("throughput", "throughput_with_evaluations", "to_end")
    ]
    return (
        f"{row['model']}, {fields}",
        row["loop"],
        value(row["throughput"]),
        value(row["to_end"]),
        row["to_end"]["kind"],
        *ratios,
        common.percent(row.get("c_acc")),
        common.percent(row.get("asr")),
    )


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    common.add_data(made)
    made.add_argument("--model", default="preactresnet18", help="architecture")
    made.add_argument("--width", type=int, nargs="+", default=[64, 16], help="of the model")
    made.add_argument(
        "--recipe",
        nargs="*",
        default=["paper", "fast"],
        choices=list(RECIPES),
        help="of bdb's loop",
    )
    made.add_argument("--seconds", type=float, default=30.0, help="for each loop")
    made.add_argument("--full", action="store_true", help="run every schedule to its end")
    made.add_argument(
        "--jobs", type=int, nargs="*", default=[], help="so many processes at once, first width"
    )
    made.add_argument("--images", type=int, default=50_000, help="of the training set")
    return made


def measure_all(args: Namespace, inputs: Inputs, device: torch.device) -> Iterator[Record]:
    """A row per width and loop, the baseline first."""
    workers = common.workers()
    for width in args.width:
        subject = Subject(inputs, args.model, {"width": width}, device)
        yield (
            run_baseline(subject, workers)
            if args.full
            else measure_baseline(subject, workers, args.seconds)
        )
        for name in args.recipe:
            yield run(subject, name) if args.full else measure(subject, name, args.seconds)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    device = common.pick_device(args)
    common.use_data(args)
    report = common.Report("training", args, device)
    inputs = poisoned(args.data, args.images, args.images // 5)
    report.add(what=inputs.what)
    rows: list[Record] = []
    for row in measure_all(args, inputs, device):
        rows.append(row)
        report.add(loops=compare(rows))
    ours = [row for row in rows if row["loop"] != BASELINE]
    if args.jobs and ours:
        subject = Subject(inputs, args.model, {"width": args.width[0]}, device)
        counts: list[Record] = []
        for count in together(subject, ours[0], args.jobs, args.seconds):
            counts.append(count)
            report.add(jobs=counts)
    report.finish(table)


if __name__ == "__main__":
    main()
