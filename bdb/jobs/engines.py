"""What both engines need done around the jobs: before Snakemake plans, and after all is made."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bdb import layout
from bdb.console import say
from bdb.errors import BdbError
from bdb.jobs import runcache, sync, work
from bdb.jobs.jobs import Jobs

FOLDERS = (
    layout.PREPARED,
    layout.POISONED,
    layout.CLEAN,
    layout.VICTIMS,
    layout.FEATURES,
    layout.CELLS,
    layout.METRICS,
    layout.ANALYSES,
)


def before(jobs: Jobs) -> None:
    """Prepare a Snakemake run: write the jobs down, and check outputs that it does not know."""
    cache = runcache.find()
    if cache is None:
        return
    work.update_sheet(jobs)
    if any(Path(".snakemake/locks").glob("*")):
        return
    synced = sync.unknown_to_snakemake(jobs, cache)
    if synced.left:
        say(
            f"bdb: {synced.left[0]} is in no cache and may be stale, as may "
            f"{len(synced.left) - 1} more; `bdb sync` drops such files"
        )


def record() -> None:
    """Let DVC take note of everything that lies here; within a DVC stage, it does so itself.

    Raises:
        BdbError: DVC refuses; the message is its own.
    """
    if runcache.find() and Path("dvc.yaml").is_file() and not os.environ.get("DVC_STAGE"):
        if find_spec("dvc") is None:
            say("dvc is not installed here: nothing is recorded")
        else:
            _commit()
    sync.mark_recorded()


def _commit() -> None:
    for folder in FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "commit", "--force"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or done.stderr.splitlines() or ["it failed and said nothing"])[0]
        raise BdbError(f"dvc commit: {reason}{_hint(reason)}")


def _hint(reason: str) -> str:
    return "; add the section, empty (`{}`) if need be" if "are missing from" in reason else ""
