"""Set the outputs of the grid against the cache, by content: keep, restore, or drop each.

Snakemake knows of an output only what it recorded itself. After a clone, a pull, or the loss of
`.snakemake`, it would take whatever lies there for current, whatever params.yaml says.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bdb import layout
from bdb.console import say
from bdb.jobs import leftovers, snakemake
from bdb.jobs.job import Job
from bdb.jobs.runcache import RunCache


@dataclass
class Synced:
    """What was done with whose outputs.

    Attributes:
        kept: jobs whose outputs are what the cache says.
        restored: jobs with outputs that were missing or other, and are linked now.
        dropped: files that are not what this plan's jobs would write, or are damaged.
        left: files that the cache does not know and Snakemake may not either; still there.
    """

    kept: int = 0
    restored: list[Job] = field(default_factory=list)
    dropped: list[Path] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.kept} kept, {len(self.restored)} restored, {len(self.dropped)} files dropped"


def everything(jobs: Iterable[Job], cache: RunCache) -> Synced:
    """Check every job's outputs; what cannot be restored is dropped, for the next run to make."""
    leftovers.remove_old(cache.root)
    synced = Synced()
    for job in jobs:
        _sync(job, cache, synced)
    _touch_benchmarks()
    _mark_if_recorded(synced)
    return synced


def unknown_to_snakemake(jobs: Iterable[Job], cache: RunCache) -> Synced:
    """Check the outputs that are there and of which Snakemake has no record.

    Where it has none at all, as after a pull, what DVC leaves to us is put in place as well.
    Files that are no links into the cache are left alone, since dropping them could lose work.
    """
    known, synced = snakemake.recorded_outputs(), Synced()
    for job in jobs:
        present = [path for path in job.outputs if os.path.lexists(path)]
        is_unknown = not all(str(path) in known for path in present)
        is_left_out = not known and any(map(layout.shared, job.outputs))
        if is_unknown or is_left_out:
            _sync(job, cache, synced, keep_files=True)
    if synced.kept:
        _touch_benchmarks()
        _mark_if_recorded(synced)
    return synced


def _sync(job: Job, cache: RunCache, synced: Synced, keep_files: bool = False) -> None:
    present = {path: cache.md5(place) for path, place in _places(job) if place.is_file()}
    entry = cache.lookup(job, present)
    if entry is None:
        _drop(job, synced, keep_files)
        return
    if entry.hashes != present or not all(map(_is_placed, job.outputs)):
        cache.link(job, entry, renew=False)
    if entry.hashes == present:
        synced.kept += 1
    else:
        synced.restored.append(job)
        other = [str(path) for path, md5 in entry.hashes.items() if present.get(path) != md5]
        say(f"{job.name}: restored {', '.join(other)}")
    _put_in_order(job)


def _put_in_order(job: Job) -> None:
    """See that no output is older than what it was made from, and touch nothing else.

    A newer output would make Snakemake do again whatever was made from it.
    """
    newest = max((_modified(path) for path in job.inputs), default=0)
    if any(_modified(path) <= newest for path in job.outputs):
        for path in job.outputs:
            os.utime(path, follow_symlinks=False)


def _modified(path: Path) -> int:
    """When Snakemake takes a file to have changed: a link, or what it leads to."""
    return max(os.lstat(path).st_mtime_ns, os.stat(path).st_mtime_ns)


def _touch_benchmarks() -> None:
    """Snakemake's records of time are outputs to it, and nothing is made from them."""
    for path in Path("benchmarks").rglob("*.tsv"):
        os.utime(path)


def _places(job: Job) -> Iterator[tuple[Path, Path]]:
    """Every output, and where its content lies: DVC pulls some to another place than theirs."""
    for path in job.outputs:
        yield path, path if path.is_file() else layout.shared(path) or path


def _is_placed(path: Path) -> bool:
    return path.is_file() and not (layout.is_opened(path) and path.is_symlink())


def _drop(job: Job, synced: Synced, keep_files: bool) -> None:
    for path in job.outputs:
        if not os.path.lexists(path):
            continue
        if keep_files and not path.is_symlink():
            synced.left.append(path)
        else:
            say(f"{path}: dropped ({_why(path, job)})")
            path.unlink()
            synced.dropped.append(path)


def _why(path: Path, job: Job) -> str:
    missing = next((each for each in job.inputs if not each.is_file()), None)
    if not path.is_file():
        return "damaged, or gone from the cache"
    if missing:
        return f"made from {missing}, which is gone"
    return "not what these parameters and this code give, or damaged"


def _mark_if_recorded(synced: Synced) -> None:
    """After a pull, dvc.lock tells of what lies here; nothing is left to record."""
    is_whole = not (synced.restored or synced.dropped or synced.left)
    if is_whole and Path("dvc.lock").is_file():
        mark_recorded()


def mark_recorded(obstacle: str = "") -> None:
    """Tell Snakemake that DVC knows of everything that lies here, or of what keeps it from that."""
    layout.RECORDED.parent.mkdir(parents=True, exist_ok=True)
    layout.RECORDED.write_text(f"{obstacle}\n" if obstacle else "", encoding="utf-8")
