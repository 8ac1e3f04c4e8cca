"""A run as one zip: every file that is there of it, their checksums, and the parameters."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from bdb import artifacts, layout
from bdb.errors import ArtifactError
from bdb.export.targets import free, known
from bdb.jobs.job import Job
from bdb.jobs.jobs import Jobs
from bdb.layout import Run

_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of time in a zip: the same run gives the same bytes
_PIECE = 1 << 20


def export(text: str, path: Path) -> str:
    """Write the outputs of a run's jobs, provenance included, under their paths in the project.

    Beside them lie params.yaml and SHA256SUMS, which `sha256sum -c` reads. Prepared data are left
    out: they are what `bdb prepare` makes of the raw files.

    Args:
        text: the run.
        path: of the zip.

    Raises:
        ParamsError: there is no such run, or the file is there already.
        ArtifactError: nothing has been made of the run.
    """
    jobs, run = known(text)
    free(path)
    files = sorted({file for job in _jobs(jobs, run) for file in job.outputs if file.is_file()})
    if layout.model(run) not in files:
        raise ArtifactError(artifacts.missing(layout.model(run)))
    with artifacts.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        sums = [f"{_add(archive, file)}  {file}\n" for file in [*files, layout.PARAMS]]
        archive.writestr(_entry("SHA256SUMS"), "".join(sums))
    return f"{path}: {len(files)} files of {run}, {path.stat().st_size >> 10:,} KiB"


def _jobs(jobs: Jobs, run: Run) -> Iterator[Job]:
    plan = jobs.plan
    yield from () if run.is_clean else (jobs.poison(run),)
    yield jobs.train(run)
    yield from (jobs.features(each) for each in plan.featured if each == run)
    yield from chain(
        (jobs.defend(each, name) for each, name in plan.cells if each == run),
        (jobs.analyze(*each) for each in plan.analyses if each[0] == run),
        (jobs.evaluate(each) for each in plan.runs if each == run),
    )


def _add(archive: zipfile.ZipFile, path: Path) -> str:
    """Copy a file in piece by piece; its SHA-256."""
    digest = hashlib.sha256()
    with (
        path.open("rb") as file,
        archive.open(_entry(path.as_posix()), "w", force_zip64=True) as to,
    ):
        while piece := file.read(_PIECE):
            digest.update(piece)
            to.write(piece)
    return digest.hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _BEGINNING)
    entry.external_attr = 0o644 << 16
    return entry
