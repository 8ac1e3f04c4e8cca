"""The same parameters give the same bytes, but for times."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdb.console import say

pytestmark = pytest.mark.reliability

# What tells how long the jobs took; the page shows it too.
TIMED = {"provenance.json", "costs.csv", "board.parquet", "index.html"}
TIMES = ("date", "seconds", "epoch_seconds", "memory_mb")


def test_equal_parameters_give_equal_bytes(new_grid: Callable[..., Any]) -> None:
    twins = [new_grid(), new_grid()]
    for twin in twins:
        twin.make()
    first, second = map(hashes, twins)
    assert len(first) > 20
    assert first.keys() == second.keys()
    assert differing(first, second) == []
    assert timeless(twins[0]) == timeless(twins[1])
    say(f"\n{len(first)} files are the same bytes in two folders")
    tell_what_threads_change(new_grid(), first)


def tell_what_threads_change(project: Any, of_one: dict[str, str]) -> None:
    """Sums are taken in another order then; no more than that is promised."""
    stages = ("prepare", "surrogate", "trigger", "poison", "train", "features", "defend")
    stages += ("detect", "defend_with_evidence", "analyze", "analyze_cell")
    project.make("--set-threads", *(f"{stage}=2" for stage in stages))
    of_two = hashes(project)
    assert of_two.keys() == of_one.keys()
    changed = differing(of_one, of_two)
    say(f"with 2 threads {len(changed)} of {len(of_one)} differ: {' '.join(changed) or 'none'}")


def hashes(project: Any) -> dict[str, str]:
    """The hash of every artefact that holds no times."""
    return {
        str(path.relative_to(project.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in artefacts(project)
        if path.name not in TIMED
    }


def artefacts(project: Any) -> list[Path]:
    places = (project.folder / "data", project.folder / "results")
    return sorted(path for place in places for path in place.rglob("[!.]*") if path.is_file())


def differing(first: dict[str, str], second: dict[str, str]) -> list[str]:
    return [path for path in first if first[path] != second[path]]


def timeless(project: Any) -> list[Any]:
    """Every provenance without its times."""
    records = [json.loads(p.read_text()) for p in artefacts(project) if p.name == "provenance.json"]
    return [{key: record[key] for key in record if key not in TIMES} for record in records]
