"""What methods exist and what they need, as JSON: made once, read without importing torch.

Made anew, in a process of its own, whenever a source file of the package or of a plugin changes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from bdb import artifacts, registry
from bdb.console import say
from bdb.errors import ArtifactError, BdbError, ParamsError, line, unknown
from bdb.jobs import code, folders
from bdb.jobs.code import Source


@dataclass(frozen=True)
class Entry:
    """One method.

    Attributes:
        room: the sub-package of its sort, `post_training`; empty where the kind has none.
        capabilities: its class variables.
        schema: JSON schema of its fields, as they may stand in params.yaml.
        differs: how it departs from its paper or a reference.
        method: of an instance that params.yaml names, the method that it is one of; else empty.
    """

    kind: str
    name: str
    room: str
    summary: str
    module: str
    paper: dict[str, Any] | None
    capabilities: dict[str, Any]
    schema: dict[str, Any]
    differs: str = ""
    method: str = ""

    def default(self, field: str) -> Any:
        """Of a field."""
        return self.schema["properties"][field].get("default")

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

    def with_instances(self, instances: Mapping[str, Mapping[str, str]]) -> Catalogue:
        """The same with more names: by kind and name, the method that each is an instance of."""
        entries = dict(self.entries)
        for kind, named in instances.items():
            table = self.entries[kind]
            made = {
                name: replace(table[method], name=name, method=method)
                for name, method in named.items()
            }
            entries[kind] = table | made
        return replace(self, entries=entries)

    def code(self, stage: str, methods: Iterable[Entry]) -> str:
        """The identity of a stage's job that uses these methods."""
        modules = [f"bdb.stages.{stage}", *(method.module for method in methods)]
        return code.identity(self.sources, modules)


def load() -> Catalogue:
    """The catalogue of the sources as they are now."""
    return _load(_fingerprint(modules()))


@lru_cache(maxsize=1)
def _load(fingerprint: str) -> Catalogue:
    raw = _kept(fingerprint)
    entries = {
        kind: {name: Entry(**entry) for name, entry in table.items()}
        for kind, table in raw["entries"].items()
    }
    sources = {
        name: Source(source["digest"], tuple(source["imports"]))
        for name, source in raw["sources"].items()
    }
    return Catalogue(entries, sources)


def _kept(fingerprint: str) -> Any:
    """The catalogue as it was made of these sources, if it can be kept; else made anew."""
    folder = folders.cache()
    path = folder / f"catalogue-{fingerprint}.json" if folder else None
    if path and path.is_file():
        return artifacts.read_json(path)
    raw = _make_elsewhere()
    if path:
        try:
            artifacts.write_json(path, raw)
        except ArtifactError as error:
            say(f"{line(error)}; planning takes longer")
    return raw


def _make_elsewhere() -> Any:
    """Import every method in a process of its own, so that this one stays without torch."""
    command = [sys.executable, "-m", "bdb.jobs.catalogue"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BdbError(f"the methods cannot be read: {last}")
    return json.loads(done.stdout)


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
        room=getattr(cls, cls.room, "") if cls.room else "",
        summary=cls.summary(),
        module=cls.__module__,
        paper=cls.paper.model_dump() if cls.paper else None,
        capabilities=cls.capabilities(),
        schema=cls.model_json_schema(),
        differs=cls.differs(),
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


def mistake(error: BaseException) -> str:
    """What is wrong with a method's file, in one line: file, line, and the exception's message."""
    said = line(error) if isinstance(error, BdbError) else f"{type(error).__name__}: {line(error)}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    own = {str(path) for path in modules().values()} - {__file__, registry.__file__}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]
    return f"{frames[-1].filename}:{frames[-1].lineno}: {said}" if frames else said


if __name__ == "__main__":
    try:
        with redirect_stdout(sys.stderr):  # Only the catalogue is to be read from this process.
            found = make()
    except Exception as error:  # whatever a method's file leads to when it is imported
        sys.exit(mistake(error))
    # In the order in which it is kept, or pages would depend on whether it was made or read.
    json.dump(found, sys.stdout, sort_keys=True)
