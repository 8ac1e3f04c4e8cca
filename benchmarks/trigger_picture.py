"""What the trigger's picture decides: small victims of an attack, alike but for its picture.

The published attacks blend pictures that have owners; ours are drawn by rule. Each variant is
trained over several seeds, and put under defenses that prune or fine-tune. It takes an hour of one
core.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from statistics import mean
from typing import Any

import common
from common import Record
from project import Project, grid

from bdb import layout
from bdb.console import say

# The fields that make the variants; the rest of an attack stays as published.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "blended, picture": ("blended", {"pattern": "picture"}),
    "blended, noise": ("blended", {"pattern": "noise"}),
    "lf, optimised": ("lf", {"pattern": "optimised"}),
    "lf, picture": ("lf", {"pattern": "picture"}),
}
# A narrow net has too few channels for u = 3, and a small clean set too few steps at 256.
DEFENSES = {"ft": {"batch_size": 64}, "nad": {"batch_size": 64}, "clp": {"u": 2.5}}
RATES = ("c_acc", "asr")


def params(args: Namespace, attack: str, fields: dict[str, Any]) -> dict[str, Any]:
    """params.yaml of one variant."""
    return {
        "grid": grid(
            dataset="cifar10",
            model=args.model,
            attack=attack,
            poison_ratio=args.ratio,
            seed=args.seed,
            defense=args.defense,
        ),
        "datasets": {"cifar10": {"train_share": args.train_share}},
        "models": {args.model: {"width": args.width}},
        "attacks": {attack: fields},
        "defenses": DEFENSES,
        "training": {"recipe": args.recipe, "epochs": args.epochs, "lr": args.lr},
        "keep_defended_models": False,
    }


def measure(project: Project) -> Record:
    """Rates by defense, a list over the seeds each."""
    for job in project.jobs:
        if job.stage != "report":
            say(job.name)
            project.run(job)
    found: Record = {}
    for run in project.jobs.plan.runs:
        record = project.read(layout.metrics(run))
        for defense, rates in {"none": record["victim"], **record["cells"]}.items():
            kept = found.setdefault(defense, {name: [] for name in RATES})
            for name in RATES:
                kept[name].append(round(100 * rates[name], 2))
    return found


def table(record: Record) -> str:
    """A row per variant, a column per defense: C-Acc / ASR, and the range of ASR over the seeds."""
    variants: Record = record["results"].get("variants", {})
    names = dict.fromkeys(name for row in variants.values() for name in row)
    defenses = sorted(names, key=lambda name: name != "none")
    header = ("C-Acc / ASR in % (least to most)", *defenses)
    rows = (
        (name, *(_cell(row[defense]) for defense in defenses)) for name, row in variants.items()
    )
    return common.markdown(header, rows)


def _cell(rates: Record) -> str:
    success = rates["asr"]
    spread = f" ({min(success):.1f} to {max(success):.1f})" if len(success) > 1 else ""
    return f"{mean(rates['c_acc']):.1f} / {mean(success):.1f}{spread}"


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    common.add_data(made)
    made.add_argument("--variant", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    made.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--model", default="preactresnet18")
    made.add_argument("--width", type=int, default=12)
    made.add_argument("--train-share", type=float, default=0.1, help="of CIFAR-10")
    made.add_argument("--epochs", type=int, default=14)
    made.add_argument("--recipe", default="fast")
    made.add_argument("--lr", type=float, default=0.1, help="at 0.2 one of three seeds diverged")
    made.add_argument("--ratio", type=float, default=0.1, help="poison ratio")
    made.add_argument("--defense", nargs="+", default=list(DEFENSES), choices=DEFENSES)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    device = common.pick_device(args)
    common.use_data(args)
    report = common.Report("trigger_picture", args, device)
    images = round(50_000 * args.train_share)
    report.add(what=f"{images:,} images of CIFAR-10, {args.model} of width {args.width}")
    done: Record = {}
    for name in args.variant:
        attack, fields = VARIANTS[name]
        with tempfile.TemporaryDirectory() as folder:
            done[name] = measure(Project(Path(folder), params(args, attack, fields)))
        report.add(variants=done)
    report.finish(table)


if __name__ == "__main__":
    main()
