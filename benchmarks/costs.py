"""Costs that `bdb check` judges by where nothing was done yet: kept from projects that were run."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterable
from contextlib import chdir
from pathlib import Path

import common
from common import Record

from bdb import artifacts
from bdb.jobs import estimate
from bdb.jobs import jobs as all_jobs
from bdb.jobs.estimate import Cost, Kind


def measured(projects: Iterable[Path]) -> dict[Kind, list[Cost]]:
    """What the jobs took whose outputs lie in these folders, by kind."""
    found: dict[Kind, list[Cost]] = defaultdict(list)
    for project in projects:
        with chdir(project):
            for kind, costs in estimate.look(all_jobs.from_params())[1].items():
                found[kind] += costs
    return found


def table(costs: dict[Kind, list[Cost]]) -> list[Record]:
    """A row per kind, but for those that a plan never shares with another, as the report."""
    return [_row(kind, estimate.mean(costs[kind])) for kind in sorted(costs) if kind.dataset]


def _row(kind: Kind, cost: Cost) -> Record:
    return {
        **kind._asdict(),
        "params": json.loads(kind.params),
        "seconds": cost.seconds and round(cost.seconds, 2),
        "per_image": float(f"{cost.per_image:.4g}"),
        "bytes": round(cost.bytes),
    }


def options() -> ArgumentParser:
    """The command line."""
    made = common.command_line(__doc__)
    made.add_argument("projects", type=Path, nargs="*", default=[common.ROOT], help="their folders")
    made.add_argument("--device", default="", help="where they were run: cpu or cuda")
    made.add_argument("--note", default="", help="what else is to be known, as `beside other work`")
    made.add_argument("--out", type=Path, default=estimate.SHIPPED)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Read the projects, write the table that comes with bdb."""
    args = options().parse_args(arguments)
    where = common.machine(common.pick_device(args))
    name = where["cpu"] if where["device"] == "cpu" else where["device"]
    rows = table(measured(args.projects))
    machine = ", ".join(filter(None, (name, args.note, where["date"][:10])))
    artifacts.write_json(args.out, {"machine": machine, "jobs": rows})
    print(f"{len(rows)} kinds of jobs in {args.out}")


if __name__ == "__main__":
    main()
