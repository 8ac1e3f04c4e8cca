"""What both engines need done around the jobs: before Snakemake plans, and after all is made."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bdb import artifacts, layout, plain
from bdb.console import say
from bdb.errors import BdbError, CacheError, ParamsError, line, short
from bdb.jobs import dvc_config, runcache, sync, work
from bdb.jobs.jobs import Jobs
from bdb.jobs.runcache import RunCache

FOLDERS = (
    layout.PREPARED,
    layout.POISONED,
    layout.CLEAN,
    layout.SURROGATES,
    layout.TRIGGERS,
    layout.VICTIMS,
    layout.FEATURES,
    layout.CELLS,
    layout.METRICS,
    layout.ANALYSES,
    *(layout.SHARED / place.name for place in (layout.ANALYSES, layout.REPORT)),
)


def refuse_other_params(config: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Refuse what `--config` or `--configfile` changes: DVC would not see it.

    Raises:
        ParamsError: the configuration is not what params.yaml holds.
    """
    for key, given, value in _differences(config, there):
        raise ParamsError(
            f"--config or --configfile: {key} is {short(given)}, and {short(value)} in "
            "params.yaml; edit params.yaml, which is the only place for parameters"
        )


def _differences(
    left: Mapping[str, Any], right: Mapping[str, Any], above: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in {**left, **right}:
        one, other = left.get(key), right.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{above}{key}.")
        elif one != other or (key in left) != (key in right):
            yield f"{above}{key}", one, other


def before(jobs: Jobs) -> None:
    """Prepare a Snakemake run: write the jobs down, and check outputs that it does not know."""
    cache = runcache.find()
    if cache is None:
        return
    work.update_sheet(jobs)
    _record_once_that_is_possible()
    if any(Path(".snakemake/locks").glob("*")):
        return
    tell_lost(jobs)
    synced = sync.unknown_to_snakemake(jobs, cache)
    if synced.left:
        say(
            f"bdb: {synced.left[0]} is in no cache and may be stale, as may "
            f"{len(synced.left) - 1} more; `bdb sync` drops such files"
        )


def tell_lost(jobs: Jobs) -> None:
    """Name an output that is a link and leads nowhere, how many more there are, and the remedy."""
    lost = [path for job in jobs for path in job.outputs if path.is_symlink() and not path.exists()]
    if lost:
        say(f"bdb: {artifacts.missing(lost[0])}, as it does {len(lost) - 1} more")


def record() -> None:
    """Let DVC take note of everything that lies here; within a DVC stage, it does so itself.

    Raises:
        BdbError: DVC refuses; the message is its own.
    """
    is_due = Path("dvc.yaml").is_file() and not os.environ.get("DVC_STAGE")
    cache = runcache.find() if is_due else None
    obstacle = _obstacle(cache) if cache else ""
    if cache and not obstacle:
        obstacle = _commit()
    if obstacle:
        say(f"DVC records nothing: {obstacle}")
    sync.mark_recorded(obstacle)


def _obstacle(cache: RunCache) -> str:
    """Why DVC could not record what lies here: no reason for a run to fail."""
    here = Path.cwd()
    dvc = dvc_config.find()
    is_plain = not any((place / ".git").exists() for place in (here, *here.parents))
    if find_spec("dvc") is None:
        return "it is not installed here"
    if is_plain and dvc and not dvc_config.is_without_git(dvc_config.read(dvc)):
        return f"{here} is in no git repository; `git init`, or `dvc config core.no_scm true`"
    if lacking := _lacking_sections():
        return f"{layout.PARAMS} lacks what it follows: {lacking}; `bdb preset` has whole files"
    try:
        cache.check_writable()
    except CacheError as error:
        return line(error)
    return ""


def _lacking_sections() -> str:
    """What DVC follows in params.yaml and would fail without; bdb takes it for empty."""
    stages = plain.read(Path("dvc.yaml"))["stages"].values()
    followed = {section for stage in stages for section in stage.get("params", ())}
    return ", ".join(sorted(followed - set(plain.read(layout.PARAMS))))


def _record_once_that_is_possible() -> None:
    """Let `record` be due again if what kept DVC from it is gone."""
    cache = runcache.find()
    with suppress(OSError):
        if cache and layout.RECORDED.stat().st_size and not _obstacle(cache):
            layout.RECORDED.unlink()


def _commit() -> str:
    """Let DVC commit; what it says if there is no room for that."""
    for folder in FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "commit", "--force"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or done.stderr.splitlines() or ["it failed and said nothing"])[0]
        if os.strerror(errno.ENOSPC) in done.stderr:
            return reason
        raise BdbError(f"dvc commit: {reason}")
    return ""
