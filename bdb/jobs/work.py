"""Do one job: link what the cache holds of it, or compute it and put it into the cache."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bdb import layout
from bdb.console import say
from bdb.errors import CacheError, ParamsError, line, unknown
from bdb.jobs import copies, leftovers, runcache, sheet
from bdb.jobs.job import Job
from bdb.jobs.runcache import RunCache

if TYPE_CHECKING:
    from bdb.jobs.jobs import Jobs


def link(words: list[str]) -> bool:
    """Link a job's outputs if the words are those of a planned job and the cache holds it.

    Takes milliseconds, since params.yaml is not read and no library is loaded.
    """
    if len(words) < 3 or words[-2] != "--code" or copies.is_other():
        return False
    cache = runcache.find()
    planned = sheet.read(" ".join(words[:-2])) if cache else None
    if cache is None or planned is None or planned.code != words[-1] or planned.raw:
        return False
    return _restore(cache, planned)


def do(stage: str, arguments: tuple[str, ...], code: str = "", raw: str = "") -> None:
    """Do one job of params.yaml, unless code or raw files are not those that it was planned for.

    Raises:
        BdbError: there is no such job, it was planned for other code, or it fails.
    """
    cache = runcache.find()
    jobs, values, job = _plan(stage, arguments)
    _check_identity(job, code, raw)
    if cache:
        update_sheet(jobs)
        if _restore(cache, job):
            return
        cache.check_inputs(job)
        cache = _usable(cache)
    _compute(jobs, values, job)
    if cache:
        try:
            cache.save(job)
        except CacheError as error:
            say(line(error))


def _usable(cache: RunCache) -> RunCache | None:
    """The cache if it can be written; else say so before the work, and do it all the same."""
    try:
        cache.check_writable()
    except CacheError as error:
        say(line(error))
        return None
    return cache


def update_sheet(jobs: Jobs) -> None:
    """Write the plan's jobs down, unless they are."""
    from bdb.jobs import catalogue

    if not sheet.is_current():
        sheet.write(jobs, catalogue.modules().values())


def _restore(cache: RunCache, job: Job) -> bool:
    if not cache.restore(job):
        return False
    say(f"{job.name}: linked from the cache")
    return True


def _plan(stage: str, arguments: tuple[str, ...]) -> tuple[Jobs, list[Any], Job]:
    from bdb.jobs import jobs as all_jobs

    jobs = all_jobs.from_params()
    values: list[Any] = list(arguments)
    if stage not in ("prepare", "report"):
        values[0] = _known_run(jobs, arguments[0])
    return jobs, values, getattr(jobs, stage)(*values)


def _known_run(jobs: Jobs, text: str) -> layout.Run:
    """One of the grid's runs, or one by which they share a model or a trigger."""
    run = layout.Run.parse(text)
    if run not in jobs.known_runs:
        raise ParamsError(unknown("run", run, map(str, jobs.plan.runs)))
    return run


def _check_identity(job: Job, code: str, raw: str) -> None:
    for option, planned, now in (("--code", code, job.code), ("--raw", raw, job.raw)):
        if planned and planned != now:
            what = "the code" if option == "--code" else "the stamp of the raw files"
            raise ParamsError(
                f"{option} {planned}: {what} is {now or 'none'} now; it was edited after the plan "
                "was made: start snakemake again"
            )


def _compute(jobs: Jobs, values: list[Any], job: Job) -> None:
    leftovers.remove_of(job.outputs)
    for path in job.outputs:
        if path.is_symlink():
            path.unlink()  # As root, writing through a link would spoil the cache.
    importlib.import_module(f"bdb.stages.{job.stage}").run(jobs, *values)
