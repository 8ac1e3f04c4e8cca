"""DVC's run-cache, in DVC's own format, without DVC: what was computed once is linked, not redone.

A job's identity is its command, the parameters that it reads and the MD5 of its inputs. The cache
holds `runs/KEY[:2]/KEY/VALUE`, an entry that names the outputs' hashes, and the outputs themselves
as `files/md5/ab/cdef...`, read-only. Nothing locks: every file is written under another name and
then renamed, so any number of jobs may save and restore at once.

Measured with dvc 3.67: it restores what this saves, and the other way round.
"""

from __future__ import annotations

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

from bdb import artifacts, layout
from bdb.errors import ArtifactError, BdbError, CacheError
from bdb.jobs import dvc_config, leftovers
from bdb.jobs.job import Job

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
    dvc = dvc_config.find(folder)
    if dvc is None:
        return None
    config = dvc_config.read(dvc)
    return RunCache(dvc_config.cache_dir(config, dvc), dvc_config.is_shared(config))


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
    """Saves and restores the outputs of jobs.

    Args:
        root: the cache's folder.
        shared: whether everybody in the group writes to it.
    """

    def __init__(self, root: Path, shared: bool = False) -> None:
        self.root = root
        self.shared = shared
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
        """Put links to an entry's objects in the outputs' places, and files where people look.

        With `renew` the objects' times become now: what was made from other contents is then older
        than they are, and Snakemake makes it anew.
        """
        leftovers.remove_of(entry.outputs)
        for path, (md5, _) in entry.outputs.items():
            target = self.object(md5)
            if renew:
                with suppress(OSError):  # Another user's, or one that cannot be written.
                    os.utime(target)
            _put(target, path)
        with suppress(OSError):
            os.utime(entry.path)

    def save(self, job: Job) -> None:
        """Move a job's outputs into the cache, link them back, and write the entry.

        Raises:
            BdbError: an output is missing.
            CacheError: the cache cannot be written; what it did not take is where the job put it.
        """
        head = self.head(job)
        if head is None:
            raise BdbError(f"{job.command}: an input went away while the job ran; run it again")
        with self._writing():
            outputs = [self._store(path) for path in sorted(job.outputs)]
            self._write_entry(head, outputs)

    def _write_entry(self, head: Head, outputs: list[Head]) -> None:
        whole = {**head, "outs": outputs}
        folder = self._folder(head, (Path(out["path"]) for out in outputs))
        self._make_folder(folder)
        with _replacing(folder / _sha256(whole)) as temporary:
            temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
            if self.shared:
                temporary.chmod(0o664)

    def forget(self, job: Job) -> None:
        """Drop every entry of a job as it is now; its inputs have to be there."""
        head = self.head(job)
        if head:
            shutil.rmtree(self._folder(head, job.outputs), ignore_errors=True)

    def check_inputs(self, job: Job) -> None:
        """Read every input once, so that no damaged one is taken for good.

        Raises:
            ArtifactError: an input is missing, or its bytes are not those that the cache holds.
        """
        for path in job.inputs:
            if not path.is_file():
                raise ArtifactError(artifacts.missing(path))
            claimed = self._claimed(path)
            if claimed and content_md5(path) != claimed:
                with suppress(OSError):  # Another user's, or one that cannot be written.
                    os.utime(path)  # Newer than its entry: `lookup` reads it again, and drops it.
                raise ArtifactError(f"{path}: damaged; `bdb sync` drops it and what depends on it")

    def check_writable(self) -> None:
        """Find out before an hour of work, not after it.

        Raises:
            CacheError: the cache cannot be written.
        """
        with self._writing():
            for folder in (self.runs, self.objects):
                self._make_folder(folder)
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
        params = {layout.PARAMS.name: job.params} if job.params else {}
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
                    self._make_folder(self.object(md5).parent)
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
            with suppress(OSError):  # Then DVC will trust it, but no job of ours.
                path.unlink(missing_ok=True)
            return False
        return True

    def _store(self, path: Path) -> Head:
        """Move one output into the cache and link it back, or copy it there."""
        if not path.is_file():
            raise BdbError(f"{path}: the job ended without writing it")
        md5, size = content_md5(path), path.stat().st_size
        target = self.object(md5)
        self._make_folder(target.parent)
        if layout.is_opened(path):
            _copy(path, target, 0o444)
            _share(target, path)
        elif not path.is_symlink():
            path.chmod(0o444)
            _move(path, target)
            _put(target, path)
        return {"path": path.as_posix(), "hash": "md5", "md5": md5, "size": size}

    def _make_folder(self, folder: Path) -> None:
        """Make a folder of the cache, for the whole group where that shares it, as DVC does."""
        if self.shared and not folder.is_dir():
            self._make_folder(folder.parent)
            with suppress(FileExistsError):  # Another job was quicker.
                folder.mkdir()
                folder.chmod(0o2775)
        folder.mkdir(parents=True, exist_ok=True)

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
            raise CacheError(
                f"cache {self.root} cannot be written: {error.strerror}; nothing is kept there; "
                "make room, or give it another place (`dvc cache dir`)"
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


def _put(target: Path, path: Path) -> None:
    """Let an object appear in an output's place."""
    (_copy if layout.is_opened(path) else _symlink)(target, path)
    _share(target, path)


def _share(target: Path, path: Path) -> None:
    link = layout.shared(path)
    if link:
        _symlink(target, link)


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
