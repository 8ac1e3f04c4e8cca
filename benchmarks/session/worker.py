"""One of several processes that train at once: warms up, waits for a line, trains, reports.

Started by together.py, with a task in JSON; speaks lines of JSON on its standard output.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import common  # noqa: F401  (finds bdb)
import torch
from inputs import CLASSES, poisoned
from training import Subject

from bdb.training import loop
from bdb.training.recipes import RECIPES


def train(task: dict[str, Any]) -> dict[str, float]:
    """Train on random images: images and seconds, without the first epoch and the waiting."""
    torch.set_num_threads(task["threads"])
    torch.set_flush_denormal(True)
    inputs = poisoned(None, task["images"], CLASSES)
    device = torch.device(task["device"])
    subject = Subject(inputs, task["architecture"], task["fields"], device)
    marks: list[float] = []

    def epoch_end(epoch: int, _model: object) -> None:
        if epoch == 0:
            _wait()
        marks.append(time.perf_counter())

    loop.fit(
        subject.build(),
        inputs.train,
        RECIPES[task["recipe"]].model_copy(update={"epochs": task["epochs"]}),
        seed=0,
        augmentation=inputs.data.augmentation,
        epoch_end=epoch_end,
    )
    images = len(inputs.train) * (task["epochs"] - 1)
    return {"images": images, "seconds": marks[-1] - marks[0]}


def _wait() -> None:
    """The barrier; who started us may have given up."""
    print(json.dumps("ready"), flush=True)
    if not sys.stdin.readline():
        sys.exit(1)


if __name__ == "__main__":
    print(json.dumps(train(json.loads(sys.argv[1]))), flush=True)
