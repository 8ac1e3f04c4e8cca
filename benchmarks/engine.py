"""Overhead of the workflow: a preset under Snakemake, against the time of its jobs alone.

In a temporary clone of the last commit: all jobs computed, then nothing to be done, then all jobs
linked from the cache. Needs Snakemake and DVC.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

import common
from common import Record, figure, value

from bdb.console import say
from bdb.errors import BdbError

OUTPUTS = ("data/prepared", "data/poisoned", "results", "logs")


class Clone:
    """The project as it is after cloning."""

    def __init__(self, folder: Path, preset: str, cores: int) -> None:
        self.folder = folder
        self.cores = cores
        here = str(Path(sys.executable).parent)
        self.environment = dict(
            os.environ,
            PYTHONPATH=str(folder),
            PATH=os.pathsep.join((here, os.environ["PATH"])),
        )
        _run(["git", "clone", "--quiet", str(common.ROOT), str(folder)], common.ROOT, None)
        _run([sys.executable, "-m", "bdb", "preset", preset], folder, self.environment)

    def make(self) -> float:
        """Run Snakemake to its end; wall seconds."""
        command = [sys.executable, "-m", "snakemake", "--cores", str(self.cores), "--quiet", "all"]
        return _run(command, self.folder, self.environment)

    def forget_outputs(self) -> None:
        """As if they had never been made; the cache and Snakemake's own notes stay."""
        for name in OUTPUTS:
            shutil.rmtree(self.folder / name)


def seconds_of_jobs(folder: Path) -> list[float]:
    """What Snakemake measured of each job: the column `s` of its TSV files."""
    times = []
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="") as file:
            times += [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    return times


def overhead(wall: float, jobs: list[float], cores: int) -> Record:
    """What the workflow adds to its jobs, if these were spread evenly over the cores."""
    ideal = sum(jobs) / cores
    return {
        "wall": figure(wall, "s"),
        "jobs": len(jobs),
        "jobs_total": figure(sum(jobs), "s"),
        "ideal": figure(ideal, "s"),
        "overhead": figure(wall - ideal, "s"),
        "overhead_share": figure(100 * (wall / ideal - 1), "%"),
    }


def table(record: Record) -> str:
    """One row per kind of run."""
    results = record["results"]
    rows: list[tuple[object, ...]] = []
    for name in ("computed", "nothing to be done", "linked"):
        row = results.get(name, {})
        figures = (value(row.get(key)) for key in ("wall", "ideal", "overhead", "overhead_share"))
        rows.append((name, row.get("jobs"), *figures))
    header = ("run", "jobs", "wall s", "jobs' own s / cores", "overhead s", "overhead %")
    return common.markdown(header, rows)


def _run(command: list[str], folder: Path, environment: dict[str, str] | None) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BdbError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return time.perf_counter() - start


def options() -> ArgumentParser:
    """The command line."""
    made = common.parser(__doc__)
    made.add_argument("--preset", default="demo", help="whose jobs are run")
    made.add_argument("--cores", type=int, default=common.cores())
    return made


def main(arguments: list[str] | None = None) -> None:
    """Measure, write, print."""
    args = options().parse_args(arguments)
    report = common.Report("engine", args, common.pick_device(args))
    report.add(what=f"preset {args.preset} on {args.cores} cores")
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder) / "bdb", args.preset, args.cores)
        say("all jobs computed")
        wall = clone.make()
        jobs = seconds_of_jobs(clone.folder / "benchmarks")
        report.add(computed=overhead(wall, jobs, args.cores))
        say("nothing to be done")
        report.add(**{"nothing to be done": {"wall": figure(clone.make(), "s"), "jobs": 0}})
        clone.forget_outputs()
        say("all jobs linked")
        wall = clone.make()
        linked = seconds_of_jobs(clone.folder / "benchmarks")
        report.add(linked=overhead(wall, linked, args.cores))
    report.finish(table)


if __name__ == "__main__":
    main()
