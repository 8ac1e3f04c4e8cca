"""Cost of defenses: seconds and peak memory of each on one victim, in a process of its own.

By default on digits, with the strengths of the preset of digits (some seven minutes of one core
that has nothing else to do); on other data with the published ones, which take hours on a CPU.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import yaml
from common import Record, figure, percent, value
from project import Project, grid

from bdb import layout, presets, registry
from bdb.console import say
from bdb.errors import BdbError
from bdb.jobs.job import Job

DIGITS = "digits"


def params(args: Namespace) -> dict[str, Any]:
    """params.yaml of one victim under all the defenses."""
    fields = yaml.safe_load(presets.text(DIGITS)) if args.dataset == DIGITS else {}
    names = [name for pattern in args.defense for name in registry.names("defense", pattern)]
    return {
        "grid": grid(
            dataset=args.dataset,
            model=args.model,
            attack=args.attack,
            poison_ratio=args.ratio,
            seed=args.seed,
            defense=list(dict.fromkeys(names)),
        ),
        "attacks": fields.get("attacks", {}),
        "defenses": fields.get("defenses", {}),
        "training": {"recipe": args.recipe} | ({"epochs": args.epochs} if args.epochs else {}),
        "keep_defended_models": False,
    }


def measure_all(project: Project) -> Iterator[Record]:
    """Every job but the report's, with what it took, or with the reason why it failed."""
    for job in project.jobs:
        if job.stage == "report":
            continue
        say(job.name)
        defense = job.arguments[1] if job.stage == "defend" else None
        row = {"stage": job.stage, "defense": defense, "job": job.name}
        try:
            spent = project.run(job)
        except BdbError as error:
            yield row | {"reason": str(error)}
        else:
            yield row | {"process": figure(spent, "s"), **_costs(project, job)}


def _costs(project: Project, job: Job) -> Record:
    written = [path for path in job.outputs if path.name == "provenance.json"]
    if not written:
        return {}
    record = project.read(written[0])
    return {
        "seconds": figure(record["seconds"], "s"),
        "memory": figure(record["memory_mb"], "MiB"),
        "threads": record["threads"],
    }


def rates(project: Project) -> Record:
    """C-Acc and ASR of the victim and under each defense."""
    (run,) = project.jobs.plan.runs
    measured = project.read(layout.metrics(run))
    found = {"none": measured["victim"], **measured["cells"]}
    names = ("c_acc", "asr", "ra")
    return {
        defense: common.percents({name: each[name] for name in names})
        for defense, each in found.items()
    }


def table(record: Record) -> str:
    """One row per job: what comes before the defenses, then these."""
    results = record["results"]
    header = ("job", "s", "s with start-up", "peak MiB", "C-Acc %", "ASR %", "")
    measured = results.get("rates", {})
    return common.markdown(header, (_row(row, measured) for row in results.get("jobs", ())))


def _row(row: Record, measured: Record) -> tuple[object, ...]:
    defense = row["defense"] or ("none" if row["stage"] == "train" else "")
    found = measured.get(defense, {})
    return (
        row["defense"] or row["stage"],
        *(value(row.get(cost)) for cost in ("seconds", "process", "memory")),
        *(percent(found.get(rate)) for rate in ("c_acc", "asr")),
        row.get("reason", ""),
    )


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    common.add_data(made)
    made.add_argument("--dataset", default=DIGITS)
    made.add_argument("--model", default="convnet")
    made.add_argument("--attack", default="badnets")
    made.add_argument("--ratio", type=float, default=0.1, help="poison ratio")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--recipe", default="fast", help="of the victim")
    made.add_argument("--epochs", type=int, help="of the victim, other than the recipe's")
    made.add_argument("--threads", type=int, default=1, help="of each job; 1 as in the workflow")
    made.add_argument("--defense", nargs="+", default=["*"], metavar="GLOB")
    return made


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    device = common.pick_device(args)
    common.use_data(args)
    report = common.Report("defenses", args, device)
    place = "GPU memory" if device.type == "cuda" else "memory of the process, torch among it"
    victim = f"{args.dataset}, {args.model}, {args.attack} at {args.ratio:g}, recipe {args.recipe}"
    victim += f" cut to {args.epochs} epochs" if args.epochs else ""
    report.add(what=f"{victim}; threads of each job {args.threads}; {place}")
    done: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), params(args))
        project.environment["OMP_NUM_THREADS"] = str(args.threads)
        for row in measure_all(project):
            done.append(row)
            report.add(jobs=done)
        report.add(rates=rates(project))
    report.finish(table)


if __name__ == "__main__":
    main()
