"""DVC's run-cache, in DVC's own format, without DVC: what was computed once is linked, not redone.

A job's identity is its command, the parameters that it reads and the MD5 of its inputs. The cache
holds `runs/KEY[:2]/KEY/VALUE`, an entry that names the outputs' hashes, and the outputs themselves
as `files/md5/ab/cdef...`, read-only. Nothing locks: every file is written under another name and
then renamed, so any number of jobs may save and restore at once.

Measured with dvc 3.67: it restores what this saves, and the other way round.
"""

from __future__ import annotations

import configparser
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bdb.errors import ArtifactError, BdbError
from bdb.jobs import leftovers
from bdb.jobs.job import Job
from bdb.layout import PARAMS

Head = dict[str, Any]
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A past execution: the file that tells of it, and the hash and size of every output."""

    path: Path
    outputs: dict[Path, tuple[str, int]]

    @property
    def hashes(self) -> dict[Path, str]:
        """The MD5 of every output."""
        return {path: md5 for path, (md5, _) in self.outputs.items()}


def find(folder: Path | None = None) -> RunCache | None:
    """The cache of the DVC project around `folder`, or None where DVC was not initialised."""
    start = (folder or Path.cwd()).absolute()
    for place in (start, *start.parents):
        if (place / ".dvc").is_dir():
            return RunCache(_cache_dir(place / ".dvc"))
    return None


def require() -> RunCache:
    """The cache of this DVC project.

    Raises:
        BdbError: DVC was not initialised.
    """
    cache = find()
    if cache is None:
        raise BdbError(f"{Path.cwd()}: no .dvc folder here or above; `dvc init` makes the cache")
    return cache


def content_md5(path: Path) -> str:
    """The MD5 of a file's bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class RunCache:
    """Saves and restores the outputs of jobs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.objects = root / "files" / "md5"

    def restore(self, job: Job) -> bool:
        """Link the outputs of a past execution into place; False if there is none."""
        entry = self.lookup(job)
        if entry is None:
            return False
        self.link(job, entry)
        return True

    def lookup(self, job: Job, present: Mapping[Path, str] | None = None) -> Entry | None:
        """The newest entry of this identity whose objects are all there and sound.

        One with the outputs that are `present` (their MD5 by path) comes before newer ones.
        """
        head = self.head(job)
        folder = self._folder(head, job.outputs) if head else None
        if folder is None or not folder.is_dir():
            return None
        paths = sorted(folder.glob("[!.]*"), key=_modified, reverse=True)
        entries = [entry for entry in map(self._read, paths) if entry is not None]
        entries.sort(key=lambda entry: entry.hashes != present)
        for entry in entries:
            self._take_back(entry, present or {})
            if entry.outputs.keys() == set(job.outputs) and self._is_sound(entry):
                return entry
        return None

    def link(self, job: Job, entry: Entry, renew: bool = True) -> None:
        """Put links to an entry's objects in the outputs' places.

        With `renew` the objects' times become now: what was made from other contents is then older
        than they are, and Snakemake makes it anew.
        """
        leftovers.remove_of(entry.outputs)
        for path, (md5, _) in entry.outputs.items():
            target = self.object(md5)
            if renew:
                with suppress(PermissionError):  # Another user's, in a shared cache.
                    os.utime(target)
            (_copy if job.is_for_git else _symlink)(target, path)
        with suppress(PermissionError):
            os.utime(entry.path)

    def save(self, job: Job) -> None:
        """Move a job's outputs into the cache, link them back, and write the entry.

        Raises:
            BdbError: an output is missing, or the cache cannot be written.
        """
        head = self.head(job)
        if head is None:
            raise BdbError(f"{job.command}: an input went away while the job ran; run it again")
        with self._writing():
            outputs = [self._store(path, job.is_for_git) for path in sorted(job.outputs)]
            self._write_entry(head, outputs)

    def _write_entry(self, head: Head, outputs: list[Head]) -> None:
        whole = {**head, "outs": outputs}
        folder = self._folder(head, (Path(out["path"]) for out in outputs))
        with _replacing(folder / _sha256(whole)) as temporary:
            temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    def check_inputs(self, job: Job) -> None:
        """Read every input once, so that no damaged one is taken for good.

        Raises:
            ArtifactError: an input is missing, or its bytes are not those that the cache holds.
        """
        for path in job.inputs:
            if not path.is_file():
                raise ArtifactError(f"{path}: no such file; run the stage that makes it")
            claimed = self._claimed(path)
            if claimed and content_md5(path) != claimed:
                with suppress(PermissionError):  # Another user's, in a shared cache.
                    os.utime(path)  # Newer than its entry: `lookup` reads it again, and drops it.
                raise ArtifactError(f"{path}: damaged; `bdb sync` drops it and what depends on it")

    def check_writable(self) -> None:
        """Refuse before an hour of work, not after it.

        Raises:
            BdbError: the cache cannot be written.
        """
        with self._writing():
            for folder in (self.runs, self.objects):
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".{os.getpid()}.probe"
                probe.touch()
                probe.unlink()

    def md5(self, path: Path) -> str:
        """The MD5 of a file; of a link into the cache it is read off the name."""
        return self._claimed(path) or content_md5(path)

    def object(self, md5: str) -> Path:
        """Where the content with this MD5 lies."""
        return self.objects / md5[:2] / md5[2:]

    def describe(self, path: Path) -> Head:
        """A file as an entry names it."""
        md5 = self.md5(path)
        return {"path": path.as_posix(), "hash": "md5", "md5": md5, "size": path.stat().st_size}

    def entries(self) -> Iterator[tuple[Path, Head]]:
        """Every entry that can be read, with its file."""
        for path in self.runs.glob("??/*/[!.]*"):
            raw = _load(path)
            if raw is not None:
                yield path, raw

    def head(self, job: Job) -> Head | None:
        """Command, inputs and parameters as an entry holds them; None if an input is missing."""
        try:
            deps = [self.describe(path) for path in sorted(job.inputs)]
        except FileNotFoundError:
            return None
        params = {PARAMS.name: job.params} if job.params else {}
        whole = {"cmd": job.command, "deps": deps, "params": params}
        return {key: value for key, value in whole.items() if value}  # As DVC leaves them out.

    def _folder(self, head: Head, outputs: Iterable[Path]) -> Path:
        key = _sha256({**head, "outs": sorted(path.as_posix() for path in outputs)})
        return self.runs / key[:2] / key

    def _read(self, path: Path) -> Entry | None:
        raw = _load(path)
        try:
            outs = raw["outs"] if raw else []
            return Entry(path, {Path(o["path"]): (o["md5"], int(o["size"])) for o in outs})
        except (KeyError, TypeError, ValueError):
            return None

    def _take_back(self, entry: Entry, present: Mapping[Path, str]) -> None:
        """Copy files that git kept into the cache: DVC neither pushes nor pulls them."""
        for path, md5 in entry.hashes.items():
            is_kept = present.get(path) == md5 and not path.is_symlink()
            if is_kept and not self.object(md5).exists():
                with suppress(OSError):  # Then the entry is as good as none.
                    _copy(path, self.object(md5), 0o444)

    def _is_sound(self, entry: Entry) -> bool:
        """Whether the objects hold what their names say.

        An object that is older than its entry has been seen whole; a newer one is read again. Every
        damaged one is removed, since DVC would trust it.
        """
        since = _modified(entry.path)
        whole = [self._is_whole(*output, since) for output in entry.outputs.values()]
        return all(whole)

    def _is_whole(self, md5: str, size: int, since: int) -> bool:
        path = self.object(md5)
        try:
            facts = path.stat()
        except OSError:
            return False
        is_fresh = facts.st_size == size and facts.st_mtime_ns <= since
        if not is_fresh and (facts.st_size != size or content_md5(path) != md5):
            path.unlink(missing_ok=True)
            return False
        return True

    def _store(self, path: Path, is_for_git: bool) -> Head:
        """Move one output into the cache and link it back, or copy it there."""
        if not path.is_file():
            raise BdbError(f"{path}: the job ended without writing it")
        md5, size = content_md5(path), path.stat().st_size
        target = self.object(md5)
        if is_for_git:
            _copy(path, target, 0o444)
        elif not path.is_symlink():
            path.chmod(0o444)
            _move(path, target)
            _symlink(target, path)
        return {"path": path.as_posix(), "hash": "md5", "md5": md5, "size": size}

    def _claimed(self, path: Path) -> str | None:
        """The MD5 in the name of the object that a link leads to."""
        try:
            folder, name = os.path.split(os.readlink(path))
        except OSError:
            return None
        objects, prefix = os.path.split(folder)
        return prefix + name if objects == str(self.objects) else None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in one line why the cache could not be written."""
        try:
            yield
        except OSError as error:
            raise BdbError(
                f"cache {self.root} cannot be written: {error.strerror}; make room or give it "
                "another place (`dvc cache dir`), then start again: nothing finished is lost"
            ) from error


def _sha256(entry: Head) -> str:
    """The hash that DVC takes of an entry."""
    return hashlib.sha256(json.dumps(_unsized(entry), sort_keys=True).encode()).hexdigest()


def _unsized(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unsized(v) for k, v in value.items() if k not in ("size", "nfiles")}
    return [_unsized(item) for item in value] if isinstance(value, list) else value


def _load(path: Path) -> Head | None:
    """An entry: JSON if we wrote it, YAML if DVC did."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if text.startswith("{") else _yaml(text)
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _symlink(target: Path, path: Path) -> None:
    with _replacing(path) as temporary:
        temporary.symlink_to(target)


def _copy(source: Path, path: Path, mode: int = 0o644) -> None:
    with _replacing(path) as temporary:
        shutil.copyfile(source, temporary)
        temporary.chmod(mode)


def _move(path: Path, target: Path) -> None:
    """Rename, or copy to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(path, target, 0o444)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a name that takes the path's place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _cache_dir(dvc: Path) -> Path:
    """`cache.dir` of DVC's configuration; the project's comes before the user's."""
    for path in (dvc / "config.local", dvc / "config", *_user_configs()):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except configparser.Error:
            raise BdbError(f"{path}: not a configuration that DVC can read") from None
        value = parser.get("cache", "dir", fallback="").strip("'\" ")
        if value:
            return Path(os.path.normpath(path.parent / Path(value).expanduser()))
    return dvc / "cache"


def _user_configs() -> list[Path]:
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    own = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or f"{home}/dvc"
    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or "/etc/xdg/dvc"
    return [Path(own).expanduser() / "config", Path(system) / "config"]
