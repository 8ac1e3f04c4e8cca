"""A project folder of its own: params.yaml and jobs, without Snakemake and without DVC."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from contextlib import chdir
from functools import cached_property
from pathlib import Path
from typing import Any

import common
import torch
import yaml

from bdb import artifacts
from bdb.errors import BdbError
from bdb.jobs import jobs as all_jobs
from bdb.jobs import work
from bdb.jobs.job import Job
from bdb.jobs.jobs import Jobs


class Project:
    """Where jobs leave their files; paths are relative to it, as everywhere in bdb."""

    def __init__(self, folder: Path, params: dict[str, Any]) -> None:
        self.folder = folder
        self.environment = dict(os.environ, PYTHONPATH=str(common.ROOT))
        artifacts.write_text(folder / "params.yaml", yaml.safe_dump(params, sort_keys=False))

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs of its params.yaml."""
        return all_jobs.from_params(self.folder / "params.yaml")

    def run(self, job: Job) -> float:
        """Do a job in a process of its own; how long that lived, in seconds.

        Raises:
            BdbError: it failed; the message is its last line.
        """
        command = [sys.executable, *shlex.split(job.command)[1:]]
        start = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        spent = time.perf_counter() - start
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise BdbError(f"{job.name}: {lines[-1]}")
        return spent

    def do(self, job: Job) -> float:
        """Do a job in this process, which saves loading torch; seconds."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        with chdir(self.folder):
            work.do(job.stage, job.arguments, job.code)
        return time.perf_counter() - start

    def read(self, path: Path) -> Any:
        """A JSON file of a job."""
        return artifacts.read_json(self.folder / path)

    def is_done(self, job: Job) -> bool:
        """Whether all that it writes lies here."""
        return all((self.folder / path).is_file() for path in job.outputs)

    def is_ready(self, job: Job) -> bool:
        """Whether all that it reads lies here."""
        return all((self.folder / path).is_file() for path in job.inputs)


def grid(**axes: Any) -> dict[str, Any]:
    """A grid of one dataset, one model and one seed unless said otherwise."""
    lists = {name: axis if isinstance(axis, list | dict) else [axis] for name, axis in axes.items()}
    return {"poison_ratio": [0.1], "seed": [0], "defense": [], "analysis": [], **lists}
