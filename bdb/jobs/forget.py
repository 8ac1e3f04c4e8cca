"""Let jobs be computed anew: their outputs go, and so does the cache's memory of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bdb.errors import ParamsError, unknown
from bdb.jobs.job import Job
from bdb.jobs.runcache import RunCache


def forget(jobs: Iterable[Job], cache: RunCache | None, run: str, defense: str = "") -> list[Job]:
    """Forget a run's jobs, or those of one of its cells; what depends on them follows.

    Raises:
        ParamsError: the grid has no such run, or no such cell of it.
    """
    planned = [job for job in jobs if job.arguments]
    wanted = (run, defense) if defense else (run,)
    chosen = [job for job in planned if job.arguments[: len(wanted)] == wanted]
    if not chosen:
        known = {" ".join(job.arguments[: len(wanted)]) for job in planned}
        raise ParamsError(unknown("run", " ".join(wanted), known))
    if cache:
        for job in chosen:
            cache.forget(job)
        _forget_stages(cache, chosen)
    for path in (path for job in chosen for path in job.outputs):
        path.unlink(missing_ok=True)
    return chosen


def _forget_stages(cache: RunCache, jobs: Iterable[Job]) -> None:
    """DVC would restore a whole folder, with what is to go, from an entry of its own stages."""
    folders = {str(folder) for job in jobs for path in job.outputs for folder in path.parents}
    for path, entry in cache.entries():
        outs = {str(Path(out["path"])) for out in entry.get("outs", [])}
        if outs & folders and path.parent.is_dir():
            shutil.rmtree(path.parent)
