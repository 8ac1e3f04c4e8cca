"""Which run is meant, and whether what is to be written is free."""

from __future__ import annotations

import os
from pathlib import Path

from bdb.errors import ParamsError, unknown
from bdb.jobs import jobs as all_jobs
from bdb.jobs.jobs import Jobs
from bdb.layout import Run


def known(text: str) -> tuple[Jobs, Run]:
    """The jobs of params.yaml, and one of their runs.

    Raises:
        ParamsError: the text is no run, or none of the grid's.
    """
    jobs, run = all_jobs.from_params(), Run.parse(text)
    if run not in jobs.known_runs:
        raise ParamsError(unknown("run", run, map(str, jobs.plan.runs)))
    return jobs, run


def free(path: Path) -> Path:
    """The same path, if nothing is there.

    Raises:
        ParamsError: something is.
    """
    if os.path.lexists(path):
        raise ParamsError(f"{path}: is there already; choose another name, or remove it")
    return path
