import os
import shlex
import sys
from contextlib import contextmanager
from functools import cache, lru_cache

from bdb.console import say
from bdb.errors import BdbError, line
from bdb.jobs import copies, engines, jobs as all_jobs
from bdb.layout import Run
from bdb.training import leases

# Jobs are `python -m bdb ...`: that python is the one that runs Snakemake.
PYTHONS = shlex.quote(os.path.dirname(sys.executable))
shell.prefix(f"export PATH={PYTHONS}:$PATH; ")


@contextmanager
def one_line():
    """A user's mistake is one line, and exit code 2."""
    try:
        yield
    except BdbError as error:
        say(f"bdb: {line(error)}")
        sys.exit(2)


with one_line():
    copies.refuse_other()
    JOBS = all_jobs.from_params()

if workflow.is_main_process:
    with one_line():
        engines.before(JOBS)

# On one machine, as many jobs share a GPU as are needed to run so many at once.
if "gpu" in workflow.global_resources:
    leases.share(workflow.global_resources["gpu"].value)

PLAN = JOBS.plan
CATALOGUE = JOBS.catalogue
RUN = "{dataset}/{model}/{attack}/{ratio}/s{seed}"


wildcard_constraints:
    dataset=r"[a-z0-9_]+",
    model=r"[a-z0-9_]+",
    attack=r"[a-z0-9_]+",
    defense=r"[a-z0-9_@.-]+",
    tool=r"[a-z0-9_]+",
    surrogate=r"[a-z0-9_-]+",
    ratio=r"[0-9.]+",
    seed=r"[0-9]+",


def names(kind, **capabilities):
    """A regular expression of the methods that have, or lack, these capabilities, or of none."""
    found = [
        name
        for name, entry in CATALOGUE.entries[kind].items()
        if all(bool(entry.can(key)) == value for key, value in capabilities.items())
    ]
    return "|".join(found) or "(?!)"


def run_of(wildcards):
    """The run that a job's wildcards name; a clean model's folder leaves the attack out."""
    attack = getattr(wildcards, "attack", "none")
    ratio = getattr(wildcards, "ratio", "0")
    return Run(wildcards.dataset, wildcards.model, attack, ratio, int(wildcards.seed))


def job_of(stage, wildcards):
    if stage == "prepare":
        return planned(stage, wildcards.dataset)
    if stage == "report":
        return planned(stage)
    extra = [
        getattr(wildcards, key)
        for key in ("surrogate", "tool", "defense")
        if hasattr(wildcards, key)
    ]
    return planned(stage, run_of(wildcards), *extra)


@lru_cache(maxsize=1)
def planned(stage, *arguments):
    """Snakemake asks for a job's command and its settings one after the other."""
    return getattr(JOBS, stage)(*arguments)


def inputs(stage):
    return lambda wildcards: [str(path) for path in job_of(stage, wildcards).inputs]


def command(stage):
    return lambda wildcards: job_of(stage, wildcards).command


def settings(stage):
    """What of params.yaml a job reads: a change of it is a reason to run the job again."""
    return lambda wildcards: job_of(stage, wildcards).params


def grow(amount):
    """Memory in MB, or minutes, that double with every attempt."""
    return lambda wildcards, attempt: amount * 2 ** (attempt - 1)


@cache
def every(stage):
    """All outputs of a stage, for the whole grid."""
    return [str(path) for job in JOBS.of(stage) for path in job.outputs]
