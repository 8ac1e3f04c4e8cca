"""Speed of training: bdb's loop under its recipes, beside a plain DataLoader loop, in the same run.

Each loop runs for some seconds, and the time to the end is projected from its pace; with --full
ours runs to its end. What share of the machine's own matrix throughput a loop reaches is told by a
product of two matrices in the same run.
"""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import common
import torch
import yaml
from baseline import Baseline
from common import REPEATS, Record, figure, median_of, value
from inputs import Inputs, poisoned
from pace import endless, pace
from torch.utils.flop_counter import FlopCounterMode

from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.training import device as devices
from bdb.training import inference, loop
from bdb.training.recipes import RECIPES, Recipe

BASELINE = "baseline"
MODELS = ("preactresnet18:width=64", "preactresnet18:width=16", "airbench94")
_USUAL = ("paper", "fast")
_OWN = {"airbench94": ("airbench",)}  # a network made for one recipe
_SIDE = 4096  # of the matrices


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

    def flops(self) -> float:
        """Of an image's forward and backward pass: multiplications and additions."""
        model, images = self.build(), self.inputs.train.images[:8].to(self.device)
        with FlopCounterMode(display=False) as counter:
            model(loop.to_float(images)).sum().backward()
        return counter.get_total_flops() / len(images)

    @property
    def evaluated(self) -> int:
        """Images of both test sets."""
        return len(self.inputs.test) + len(self.inputs.triggered.ids)


def matrix_rate(device: torch.device, side: int = _SIDE) -> float:
    """Multiplications and additions per second of a product of two matrices in bfloat16."""
    one, other = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    one @ other
    times = [common.seconds_of(lambda: one @ other, device) for _ in range(REPEATS)]
    return 2 * side**3 / median(times)


def measure_baseline(subject: Subject, workers: int, seconds: float) -> Record:
    """The plain loop's pace in training and in evaluation."""
    start = time.perf_counter()
    baseline = Baseline(
        subject.inputs, subject.architecture, subject.fields, subject.device, workers
    )
    built = time.perf_counter() - start
    trained = pace(endless(baseline.train), 0.75 * seconds)
    tested = pace(endless(baseline.evaluate), 0.25 * seconds)
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


def measure(subject: Subject, name: str, seconds: float) -> Record:
    """The pace of bdb's loop under a recipe: epochs over as many images as the time allows."""
    recipe = RECIPES[name]
    few = min(2 * recipe.batch_size, len(subject.inputs.train))
    rough = _fit(subject, recipe, few, 2)[1][-1]
    budget = few / rough.seconds * seconds / (REPEATS + 1)
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
        **_to_end(start_up, len(epochs), fmean(epochs), evaluation, "measured"),
        "epoch": figure(fmean(epochs), "s", epochs),
        **common.percents(rates),
    }


def compare(rows: list[Record]) -> list[Record]:
    """The same rows with their ratios to the baseline of the same model."""
    baselines = {_title(row): row for row in rows if row["loop"] == BASELINE}
    return [row | {"ratios": _ratios(row, baselines.get(_title(row)))} for row in rows]


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

    return pace(endless(tests), seconds, warm_up=1).rate


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


def table(record: Record) -> str:
    """One row per loop."""
    results = record["results"]
    header = [
        *("model", "loop", "images/s", "s to the end", "how", "images/s x"),
        *("with evaluations x", "to the end x", "C-Acc %", "ASR %"),
    ]
    loops: list[Record] = results.get("loops", [])
    if any("of_matrices" in row for row in loops):
        header.append("of matrices %")
    return common.markdown(header, (_row(row)[: len(header)] for row in loops))


def _title(row: Record) -> str:
    fields = (f"{key} {field}" for key, field in row["fields"].items())
    return ", ".join((row["model"], *fields))


def _row(row: Record) -> tuple[object, ...]:
    ratios = [
        value(row["ratios"].get(name))
        for name in ("throughput", "throughput_with_evaluations", "to_end")
    ]
    return (
        _title(row),
        row["loop"],
        value(row["throughput"]),
        value(row["to_end"]),
        row["to_end"]["kind"],
        *ratios,
        common.percent(row.get("c_acc")),
        common.percent(row.get("asr")),
        value(row.get("of_matrices")),
    )


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    common.add_data(made)
    made.add_argument("--model", nargs="+", default=list(MODELS), help="name, or name:field=value")
    made.add_argument(
        "--recipe", nargs="*", choices=list(RECIPES), help="of bdb's loop; those of the model"
    )
    made.add_argument("--seconds", type=float, default=30.0, help="for each loop")
    made.add_argument("--full", nargs="+", default=[], help="of --model: those to run to the end")
    made.add_argument("--images", type=int, default=50_000, help="of the training set")
    return made


def make_subject(text: str, inputs: Inputs, device: torch.device) -> Subject:
    """Of a model as the command line has it: `preactresnet18:width=64`."""
    name, *given = re.split("[:,]", text)
    fields = dict(part.split("=", 1) for part in given)
    values = {key: yaml.safe_load(field) for key, field in fields.items()}
    return Subject(inputs, name, values, device)


def measure_all(
    args: Namespace, inputs: Inputs, device: torch.device, rate: float
) -> Iterator[Record]:
    """A row per model and loop, the baseline first; `rate` is that of matrices."""
    for text in args.model:
        subject = make_subject(text, inputs, device)
        flops = subject.flops()
        for row in _loops(subject, args, text in args.full):
            share = 100 * flops * value(row["throughput"]) / rate
            yield row | {"flops_per_image": flops, "of_matrices": figure(share, "%")}


def _loops(subject: Subject, args: Namespace, is_full: bool) -> Iterator[Record]:
    yield measure_baseline(subject, common.workers(), args.seconds)
    for name in args.recipe or _OWN.get(subject.architecture, _USUAL):
        yield run(subject, name) if is_full else measure(subject, name, args.seconds)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    device = common.pick_device(args)
    common.use_data(args)
    report = common.Report("training", args, device)
    inputs = poisoned(args.data, args.images, args.images // 5)
    rate = matrix_rate(device)
    report.add(what=inputs.what, matrices=figure(rate / 1e12, "TFLOP/s"))
    rows: list[Record] = []
    for row in measure_all(args, inputs, device, rate):
        rows.append(row)
        report.add(loops=compare(rows))
    report.finish(table)


if __name__ == "__main__":
    main()
