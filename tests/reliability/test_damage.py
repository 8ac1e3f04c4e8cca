"""Damaged, cut and deleted files are named, made anew, and nothing else is computed."""

import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Set
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from bdb.console import say

pytestmark = pytest.mark.reliability

AT_ONCE = 4
# It tells how long jobs took, and is due where one was computed again.
REPORT = {"report.log"}
JOBS = """
import json
from bdb.jobs import jobs
print(json.dumps([[j.stage, j.arguments, [str(o) for o in j.outputs]] for j in jobs.from_params()]))
"""


def test_every_damaged_file_is_named_and_its_job_alone_computed(linked: Any, finished: Any) -> None:
    rng, ways = random.Random(0), cycle((truncate, flip, delete))
    logs = {path: log for path, log in outputs(linked).items() if log != "report.log"}
    paths = sorted(path for path in logs if (linked.folder / path).is_symlink())
    rng.shuffle(paths)
    for chosen in batches(paths):
        shared = sharing(linked, chosen, paths)
        hit = {*chosen, *shared}
        done = {path: next(ways) for path in chosen}
        for path, damage in done.items():
            damage((linked.folder / path).resolve(), rng)
        say("\n" + ", ".join(f"{damage.__name__} {path}" for path, damage in done.items()))
        said = linked.bdb("sync").stderr
        dropped = {path for path in hit if f"{path}: dropped" in said}
        # An earlier execution, with other times in its provenance, may stand in for a job.
        restored = {path for path in hit if f"{name(logs[path])}: restored" in said}
        assert dropped | restored == hit, said
        # Nor is such a one found while an input is gone, but it is once that has been made again.
        orphaned = {path for path in dropped if f"{path}: dropped (made from" in said}
        # Of the jobs that give the same bytes, whichever comes first makes them for all.
        maybe = {logs[path] for path in orphaned | shared}
        due = {logs[path] for path in dropped} - maybe
        made_again(linked, finished, due, maybe=maybe | REPORT)


def test_damaged_files_that_a_person_opens_are_restored(linked: Any, finished: Any) -> None:
    """They are files, not links: what the cache holds of them is sound."""
    rng, ways = random.Random(0), cycle((truncate, flip, delete))
    logs = outputs(linked)
    damaged = [path for path in logs if not (linked.folder / path).is_symlink()]
    assert {Path(path).suffix for path in damaged} >= {".csv", ".html", ".md", ".svg"}
    for path in damaged:
        next(ways)(linked.folder / path, rng)
    said = linked.bdb("sync").stderr
    assert all(f"{name(logs[path])}: restored" in said for path in damaged), said
    made_again(linked, finished, set())


def test_the_reports_damaged_objects_are_made_anew(linked: Any, finished: Any) -> None:
    board = linked.folder / "results/board.csv"
    md5 = hashlib.md5(board.read_bytes()).hexdigest()
    flip(linked.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:], random.Random(0))
    assert "dropped" in linked.bdb("sync").stderr
    made_again(linked, finished, REPORT)


def test_a_deleted_link_is_restored_and_nothing_computed(linked: Any, finished: Any) -> None:
    for path in outputs(linked):
        (linked.folder / path).unlink()
    assert ", 0 files dropped" in linked.bdb("sync").stdout
    made_again(linked, finished, set())


def test_a_job_refuses_an_input_that_rotted_unseen_and_sync_then_drops_it(
    linked: Any, finished: Any
) -> None:
    path = "data/prepared/digits/train.safetensors"
    damaged = (linked.folder / path).resolve()
    times = damaged.stat()
    flip(damaged, random.Random(0))
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    linked.params["defenses"] = {"strip": {"false_positive_rate": 0.05}}
    linked.save()
    assert linked.snakemake().returncode != 0
    (log,) = (linked.folder / "logs/defend").rglob("strip.log")
    assert log.read_text().count("\n") == 1
    assert log.read_text().startswith(f"bdb: {path}: damaged")
    assert f"{path}: dropped" in linked.bdb("sync").stderr
    linked.params["defenses"] = {}
    linked.save()
    made_again(linked, finished, {"prepare/digits.log"})


def truncate(path: Path, rng: random.Random) -> None:
    path.chmod(0o644)
    os.truncate(path, rng.randrange(path.stat().st_size))


def flip(path: Path, rng: random.Random) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def delete(path: Path, _: random.Random) -> None:
    path.unlink()


def outputs(project: Any) -> dict[str, str]:
    """The log of the job that writes it, by output."""
    listed = json.loads(project.python(JOBS).stdout)
    return {
        path: f"{'/'.join([stage, *arguments])}.log"
        for stage, arguments, paths in listed
        for path in paths
    }


def batches(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), AT_ONCE):
        yield paths[start : start + AT_ONCE]


def sharing(project: Any, chosen: list[str], paths: list[str]) -> set[str]:
    """The outputs whose bytes another has as well: they lie in the cache once, and go together."""
    objects = {path: (project.folder / path).resolve() for path in paths}
    owners = Counter(objects.values())
    struck = {objects[path] for path in chosen}
    return {path for path, object_ in objects.items() if object_ in struck and owners[object_] > 1}


def name(log: str) -> str:
    """How `bdb sync` names the job of a log."""
    stage, *words = log.removesuffix(".log").split("/")
    run = ["/".join(words[:5]), *words[5:]]
    return " ".join(filter(None, (stage, *run)))


def made_again(project: Any, finished: Any, due: set[str], maybe: Set[str] = frozenset()) -> None:
    """Run to the end: what was computed, the same board, a sound cache, and DVC is content."""
    for log in (project.folder / "logs").rglob("*.log"):
        log.unlink()
    project.make()
    say(f"  computed: {project.computed()}")
    computed = set(project.computed())
    assert due <= computed <= due | maybe
    assert (project.folder / "results/board.csv").read_bytes() == finished.board
    assert unsound(project) == []
    assert project.is_clean()


def unsound(project: Any) -> list[str]:
    """The cache's objects whose bytes are not those that their names promise."""
    objects = (project.folder / ".dvc/cache/files/md5").glob("??/*[!r]")
    return [
        str(path)
        for path in objects
        if hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.name
    ]
