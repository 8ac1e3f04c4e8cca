"""Which GPU a job takes on a machine where no batch system hands them out.

Snakemake limits how many jobs compute on GPUs at once but gives none of them a GPU, and torch would
put all of them on the first. So each job takes a slot of a GPU: a file lock, which the kernel frees
when the job ends, however it ends.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bdb import console
from bdb.errors import ParamsError

DEVICES = Path("/dev")
SLOTS = "BDB_JOBS_PER_GPU"
_IN_PROJECT = Path(".snakemake/bdb-gpus")

# Open for as long as the process lives: closing a file gives its lock back.
_held: list[TextIO] = []


def take(devices: Path = DEVICES, poll: float = 0.5) -> None:
    """Give this process the least loaded GPU, once one is free, unless that is decided already.

    Must come before torch first looks for GPUs: CUDA reads CUDA_VISIBLE_DEVICES once.

    Raises:
        ParamsError: BDB_JOBS_PER_GPU is not a number of jobs.
    """
    gpus = count(devices)
    if not gpus or _is_decided():
        return
    slots = jobs_per_gpu()
    folder = _lock_folder()
    if folder is None:
        return
    said = False
    while (gpu := _try_to_take(folder, gpus, slots)) is None:
        if not said:
            console.say(f"waiting for a GPU: {gpus} here, {slots} job(s) on each")
            said = True
        time.sleep(poll)
    os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)


def count(devices: Path = DEVICES) -> int:
    """How many NVIDIA GPUs this machine, or this container, has."""
    return sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*"))


def share(jobs: int, devices: Path = DEVICES) -> None:
    """Let this process's children put so many jobs at once on the GPUs, unless the user said."""
    if gpus := count(devices):
        os.environ.setdefault(SLOTS, str(max(1, math.ceil(jobs / gpus))))


def jobs_per_gpu() -> int:
    """How many jobs may share a GPU.

    Raises:
        ParamsError: BDB_JOBS_PER_GPU is not a positive whole number.
    """
    text = os.environ.get(SLOTS) or "1"
    if not re.fullmatch(r"0*[1-9][0-9]{0,2}", text):
        raise ParamsError(f"{SLOTS}={text!r} is not a number of jobs; a whole number from 1 to 999")
    return int(text)


def _is_decided() -> bool:
    """Whether somebody else has said which GPU is ours; an empty list says that none is."""
    named = os.environ.get("SLURM_JOB_ID") or os.environ.get("BDB_DEVICE")
    return bool(named) or "CUDA_VISIBLE_DEVICES" in os.environ


def _lock_folder() -> Path | None:
    """Where this user's locks lie: among the temporary files, or else in the project.

    There only jobs of one project see them. Without either, every job is on the first GPU.
    """
    if (folder := _temporary()) and _is_ours(folder):
        return folder
    where = folder or "the temporary folder"
    if _is_ours(_IN_PROJECT):
        console.say(
            f"{where} cannot be used: locks of GPUs lie in {_IN_PROJECT}, unseen by other projects"
        )
        return _IN_PROJECT
    console.say(f"{where} cannot be used: every job takes the first GPU; set TMPDIR to your own")
    return None


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir()) / f"bdb-gpus-{os.getuid()}"
    except FileNotFoundError:
        return None


def _is_ours(folder: Path) -> bool:
    """Whether we can write there, and nobody else has made it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder.lstat().st_uid == os.getuid() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def _try_to_take(folder: Path, gpus: int, slots: int) -> int | None:
    """Lock a slot of the GPU that has most of them free."""
    with _alone(folder):
        free = {gpu: list(_lock_free_slots(folder, gpu, slots)) for gpu in range(gpus)}
        best = max(free, key=lambda gpu: len(free[gpu]))
        mine = free[best].pop() if free[best] else None
        for file in (file for files in free.values() for file in files):
            file.close()
    if mine is None:
        return None
    _held.append(mine)
    return best


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process looks at a time: a look locks every free slot for a moment."""
    with (folder / "turn").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock_free_slots(folder: Path, gpu: int, slots: int) -> Iterator[TextIO]:
    for slot in range(slots):
        file = (folder / f"gpu{gpu}.{slot}").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            yield file
