"""Several processes that train at the same time on one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import torch
from common import REPEATS, Record, figure, value
from training import Subject

_SCRIPTS = Path(__file__).parents[1]


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
            "victims": figure(3600 * total / (row["epochs"] * row["train_images"]), "1/h"),
            "throughput_of_each": [
                figure(each["images"] / each["seconds"], "images/s") for each in done
            ],
        }


def _at_once(task: Record, count: int) -> list[Record]:
    """Start workers, let them go when all are warm, and collect what they report."""
    command = [sys.executable, "-m", "session.worker", json.dumps(task)]
    path = os.pathsep.join(filter(None, (str(_SCRIPTS), os.environ.get("PYTHONPATH"))))
    workers = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
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


def table(rows: list[Record]) -> str:
    """A row per number of processes."""
    lines = [
        (row["jobs"], row["loop"], value(row["throughput"]), value(row.get("victims")))
        for row in rows
    ]
    return common.markdown(("at once", "loop", "images/s in all", "trainings an hour"), lines)
