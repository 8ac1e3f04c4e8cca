"""What methods exist and what they need, as JSON: made once, read without importing torch.

Made anew, in a process of its own, whenever a source file of the package or of a plugin changes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from bdb import artifacts, registry
from bdb.errors import BdbError, ParamsError, unknown
from bdb.jobs import code, folders
from bdb.jobs.code import Source


@dataclass(frozen=True)
class Entry:
    """One method.

    Attributes:
        capabilities: its class variables.
        schema: JSON schema of its fields, as they may stand in params.yaml.
    """

    kind: str
    name: str
    summary: str
    module: str
    paper: dict[str, Any] | None
    capabilities: dict[str, Any]
    schema: dict[str, Any]

    def can(self, capability: str) -> Any:
        """The value of a class variable."""
        return self.capabilities[capability]


@dataclass(frozen=True)
class Catalogue:
    """Every method by kind and name, and the identity of every module."""

    entries: dict[str, dict[str, Entry]]
    sources: dict[str, Source]

    def get(self, kind: str, name: str) -> Entry:
        """One method.

        Raises:
            ParamsError: there is none of this name; the message gives the nearest.
        """
        try:
            return self.entries[kind][name]
        except KeyError:
            raise ParamsError(unknown(kind, name, self.entries[kind])) from None

    def names(self, kind: str, pattern: str = "*") -> list[str]:
        """The names of a kind that match a glob, sorted."""
        return sorted(name for name in self.entries[kind] if fnmatchcase(name, pattern))

    def code(self, stage: str, methods: Iterable[Entry]) -> str:
        """The identity of a stage's job that uses these methods."""
        modules = [f"bdb.stages.{stage}", *(method.module for method in methods)]
        return code.identity(self.sources, modules)


def load() -> Catalogue:
    """The catalogue of the sources as they are now."""
    return _load(_fingerprint(modules()))


@lru_cache(maxsize=1)
def _load(fingerprint: str) -> Catalogue:
    path = folders.cache() / f"catalogue-{fingerprint}.json"
    if not path.is_file():
        _make_elsewhere(path)
    raw = artifacts.read_json(path)
    entries = {
        kind: {name: Entry(**entry) for name, entry in table.items()}
        for kind, table in raw["entries"].items()
    }
    sources = {
        name: Source(source["digest"], tuple(source["imports"]))
        for name, source in raw["sources"].items()
    }
    return Catalogue(entries, sources)


def _make_elsewhere(path: Path) -> None:
    """Import every method in a process of its own, so that this one stays without torch."""
    command = [sys.executable, "-m", "bdb.jobs.catalogue", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BdbError(f"a method cannot be imported: {last}")


def make() -> dict[str, Any]:
    """Import every method and describe it; imports torch."""
    entries = {
        kind: {name: asdict(_describe(kind, name)) for name in registry.names(kind)}
        for kind in registry.PACKAGES
    }
    sources = {name: asdict(source) for name, source in code.scan(modules()).items()}
    return {"entries": entries, "sources": sources}


def _describe(kind: str, name: str) -> Entry:
    cls = registry.get(kind, name)
    return Entry(
        kind=kind,
        name=name,
        summary=cls.summary(),
        module=cls.__module__,
        paper=cls.paper.model_dump() if cls.paper else None,
        capabilities=cls.capabilities(),
        schema=cls.model_json_schema(),
    )


def modules() -> dict[str, Path]:
    """The modules of this package and of every package that offers methods."""
    points = (point for kind in registry.PACKAGES for point in registry.plugins(kind))
    return code.files(sorted({"bdb", *(point.module.partition(".")[0] for point in points)}))


def _fingerprint(modules: dict[str, Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name, path in sorted(modules.items()):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    for kind in registry.PACKAGES:
        digest.update(json.dumps([str(point.value) for point in registry.plugins(kind)]).encode())
    return digest.hexdigest()[:24]


if __name__ == "__main__":
    artifacts.write_json(Path(sys.argv[1]), make())
