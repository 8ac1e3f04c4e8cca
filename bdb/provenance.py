"""Where an artefact comes from: code, parameters, run, versions, device, seconds, memory."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bdb import __version__, artifacts
from bdb.jobs.job import Job
from bdb.layout import Run
from bdb.revision import git_revision
from bdb.training import device as devices


class Provenance:
    """What is known of a job; the clock starts with it."""

    def __init__(self, job: Job, device: torch.device, run: Run | None = None) -> None:
        self.job = job
        self.device = device
        self.run = run
        self._start = time.monotonic()

    def origin(self) -> dict[str, Any]:
        """What does not depend on when or where the job ran; goes into the artefacts themselves."""
        return {
            "stage": self.job.stage,
            "run": str(self.run) if self.run else None,
            "seed": self.run.seed if self.run else None,
            "code": self.job.code,
            "params": self.job.params,
            "bdb": __version__,
        }

    def write(self, folder: Path, **facts: Any) -> None:
        """Write provenance.json: last of a job's files, so that its time is the whole job's."""
        record = {
            **self.origin(),
            **facts,
            "command": self.job.command,
            "git": git_revision(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "device": devices.name(self.device),
            "threads": torch.get_num_threads(),
            "seconds": round(time.monotonic() - self._start, 3),
            "memory_mb": round(devices.peak_memory_mb(self.device), 1),
        }
        artifacts.write_json(folder / "provenance.json", record)
