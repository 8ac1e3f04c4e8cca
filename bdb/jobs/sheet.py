"""Every planned job in one small file, so that a job can be looked up without being planned again.

Planning reads params.yaml and checks it, which takes longer than linking an output. The sheet holds
what planning gave, and a stamp of the files that it came from; a stale sheet is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from bdb import layout
from bdb.jobs import folders
from bdb.jobs.job import Job


def read(name: str) -> Job | None:
    """The job of this name as it was planned, or None if that is not known or no longer true."""
    with suppress(sqlite3.Error, ValueError), _opened() as sheet:
        query = "SELECT job FROM jobs WHERE name = ?"
        row = sheet.execute(query, (name,)).fetchone() if _is_true(sheet) else None
        return _from_text(row[0]) if row else None
    return None


def write(jobs: Iterable[Job], sources: Iterable[Path]) -> None:
    """Put a plan's jobs on the sheet."""
    path = _path()
    if path is None:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with suppress(sqlite3.Error, OSError):  # Without a sheet, jobs are only slower.
        temporary.unlink(missing_ok=True)
        with closing(sqlite3.connect(temporary)) as sheet, sheet:
            sheet.execute("PRAGMA journal_mode = OFF")
            sheet.execute("CREATE TABLE sheet (stamp TEXT)")
            sheet.execute("CREATE TABLE jobs (name TEXT PRIMARY KEY, job TEXT) WITHOUT ROWID")
            sheet.execute("INSERT INTO sheet VALUES (?)", (json.dumps(_stamp(sources)),))
            rows = ((job.name, _to_text(job)) for job in jobs)
            sheet.executemany("INSERT OR IGNORE INTO jobs VALUES (?, ?)", rows)
        temporary.replace(path)
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def is_current() -> bool:
    """Whether the sheet holds what planning would give now."""
    with suppress(sqlite3.Error, ValueError), _opened() as sheet:
        return _is_true(sheet)
    return False


def _opened() -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"file:{_path()}?mode=ro&immutable=1", uri=True))


def _is_true(sheet: sqlite3.Connection) -> bool:
    (stamp,) = sheet.execute("SELECT stamp FROM sheet").fetchone()
    return _holds(json.loads(stamp))


def _path() -> Path | None:
    folder = folders.cache()
    place = hashlib.sha256(os.fsencode(Path.cwd())).hexdigest()[:24]
    return folder / f"jobs-{place}.sqlite" if folder else None


def _to_text(job: Job) -> str:
    paths = [[str(path) for path in group] for group in (job.inputs, job.outputs)]
    return json.dumps([job.stage, job.arguments, *paths, job.params, job.code, job.raw])


def _from_text(text: str) -> Job:
    stage, arguments, inputs, outputs, params, code, raw = json.loads(text)
    reads, writes = (tuple(Path(path) for path in group) for group in (inputs, outputs))
    return Job(stage, tuple(arguments), reads, writes, params, code, raw)


def _stamp(sources: Iterable[Path]) -> dict[str, list[int] | None]:
    """Time and size of every file that planning reads, and of the folders where more may appear."""
    files = {layout.PARAMS, *sources}
    places = {path.parent for path in files if path != layout.PARAMS}
    places |= {Path(place) for place in sys.path if place}
    return {str(path.absolute()): _facts(path) for path in sorted(files | places)}


def _facts(path: Path | str) -> list[int] | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return [facts.st_mtime_ns, facts.st_size]


def _holds(stamp: dict[str, list[int] | None]) -> bool:
    return all(_facts(path) == facts for path, facts in stamp.items())
