"""Declare outputs valid under code that has changed since, and say so in their provenance."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from bdb import artifacts
from bdb.console import say
from bdb.jobs.job import Job
from bdb.jobs.runcache import Head, RunCache

_CODE = re.compile(r" --code ([0-9a-f]+)")
# It is a matter of seconds, and tells what was blessed.
_MADE_ANEW = "report"


def everything(jobs: Iterable[Job], cache: RunCache, reason: str) -> list[Job]:
    """Give every job whose outputs lie here, made by other code, an entry under today's code.

    Nothing else may differ: the parameters and the inputs are those that the outputs were made
    with. A job whose code has not changed is passed over.
    """
    past = _index(cache)
    return [job for job in jobs if job.stage != _MADE_ANEW and _bless(job, cache, past, reason)]


def _index(cache: RunCache) -> dict[str, list[Head]]:
    """Every entry by its identity without the code."""
    found: dict[str, list[Head]] = {}
    for _, entry in cache.entries():
        head: Head = {key: entry[key] for key in ("cmd", "deps", "params") if key in entry}
        found.setdefault(_codeless(head), []).append(entry)
    return found


def _codeless(head: Head) -> str:
    return json.dumps({**head, "cmd": _CODE.sub("", str(head.get("cmd", "")))}, sort_keys=True)


def _bless(job: Job, cache: RunCache, past: dict[str, list[Head]], reason: str) -> bool:
    if cache.lookup(job) or not all(path.is_file() for path in job.outputs):
        return False
    head = cache.head(job)
    outputs = [cache.describe(path) for path in sorted(job.outputs)]
    known = past.get(_codeless(head), []) if head else []
    made = [entry for entry in known if entry.get("outs") == outputs]
    if not made:
        return False
    code = _CODE.search(str(made[0]["cmd"]))
    _say_so(job, {"code": code[1] if code else None, "under": job.code, "reason": reason})
    cache.save(job)
    say(f"{job.name}: blessed")
    return True


def _say_so(job: Job, blessing: dict[str, Any]) -> None:
    path = next((path for path in job.outputs if path.name == "provenance.json"), None)
    if path is not None:
        record = artifacts.read_json(path)
        record["blessed"] = [*record.get("blessed", []), blessing]
        artifacts.write_json(path, record)
