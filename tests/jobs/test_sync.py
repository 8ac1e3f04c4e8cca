"""`bdb sync` and `bdb bless` on jobs that are faked, in a real cache."""

import json
from pathlib import Path

import pytest

from bdb import layout
from bdb.jobs import bless, runcache, snakemake, sync
from bdb.jobs.job import Job
from bdb.jobs.runcache import RunCache

FIRST = Job("poison", ("r",), (), (Path("data/p.bin"),), {"attacks.a": {"x": 1}}, "a1")
SECOND = Job(
    "defend",
    ("r", "d"),
    FIRST.outputs,
    (Path("results/c.bin"), Path("results/provenance.json")),
    {},
    "b1",
)
JOBS = (FIRST, SECOND)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCache:
    """Both jobs done."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    found = runcache.require()
    for job in JOBS:
        make(job, "first")
        found.save(job)
    return found


def make(job: Job, text: str) -> None:
    for path in job.outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(json.dumps({"text": text, "path": str(path)}))


def changed(job: Job, **fields: object) -> Job:
    return Job(**{**vars(job), **fields})  # type: ignore[arg-type]


def test_what_is_right_is_kept(cache: RunCache) -> None:
    before = {path: path.resolve() for path in (*FIRST.outputs, *SECOND.outputs)}
    assert str(sync.everything(JOBS, cache)) == "2 kept, 0 restored, 0 files dropped"
    assert {path: path.resolve() for path in before} == before


def test_what_is_missing_or_other_is_restored(cache: RunCache) -> None:
    FIRST.outputs[0].unlink()
    make(SECOND, "other")
    synced = sync.everything(JOBS, cache)
    assert synced.restored == [FIRST, SECOND]
    assert "first" in SECOND.outputs[0].read_text()


def test_what_these_parameters_do_not_give_is_dropped(
    cache: RunCache, capsys: pytest.CaptureFixture[str]
) -> None:
    synced = sync.everything((changed(FIRST, params={"attacks.a": {"x": 2}}), SECOND), cache)
    assert synced.dropped == [*FIRST.outputs, *SECOND.outputs]
    said = capsys.readouterr().err
    assert "data/p.bin: dropped (not what these parameters" in said
    assert "results/c.bin: dropped (made from data/p.bin, which is gone)" in said
    assert sync.everything(JOBS, cache).restored == list(JOBS)


def test_damage_is_named_and_its_object_removed(
    cache: RunCache, capsys: pytest.CaptureFixture[str]
) -> None:
    held = SECOND.outputs[0].resolve()
    held.chmod(0o644)
    held.write_text("damage")
    assert sync.everything(JOBS, cache).kept == 1
    assert "results/c.bin: dropped (damaged" in capsys.readouterr().err
    assert not held.exists()


def test_snakemakes_own_outputs_are_left_to_it(
    cache: RunCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = changed(FIRST, params={"attacks.a": {"x": 2}})
    monkeypatch.setattr(snakemake, "recorded_outputs", lambda: {"data/p.bin"})
    assert sync.unknown_to_snakemake([other], cache).dropped == []
    monkeypatch.setattr(snakemake, "recorded_outputs", set)
    assert sync.unknown_to_snakemake([other], cache).dropped == [Path("data/p.bin")]


def test_files_of_no_cache_are_left_alone_unless_asked(cache: RunCache) -> None:
    other = changed(FIRST, params={"attacks.a": {"x": 2}})
    make(other, "hours of work")
    assert sync.unknown_to_snakemake([other], cache).left == [Path("data/p.bin")]
    assert Path("data/p.bin").is_file()
    assert sync.everything([other], cache).dropped == [Path("data/p.bin")]


def test_nothing_is_left_to_record_after_a_pull(cache: RunCache) -> None:
    sync.everything(JOBS, cache)
    assert not layout.RECORDED.exists()
    Path("dvc.lock").touch()
    sync.everything(JOBS, cache)
    assert layout.RECORDED.exists()


def test_the_records_of_snakemake_are_read_from_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snakemake.persistence.file import FilePersistence

    monkeypatch.chdir(tmp_path)
    names = {"data/a.bin", "results/" + "long/" * 60 + "ä.bin"}
    Path(".snakemake/metadata").mkdir(parents=True)
    writer = FilePersistence.__new__(FilePersistence)
    writer._max_len = None
    for name in names:
        writer._io_write(".snakemake/metadata", {}, name)
    assert snakemake.recorded_outputs() == names


def test_blessed_outputs_are_valid_under_the_new_code(cache: RunCache) -> None:
    edited = changed(SECOND, code="b2")
    assert cache.lookup(edited) is None
    assert bless.everything((FIRST, edited), cache, "only a log line") == [edited]
    assert cache.lookup(edited) is not None
    (blessing,) = json.loads(Path("results/provenance.json").read_text())["blessed"]
    assert blessing == {"code": "b1", "under": "b2", "reason": "only a log line"}
    assert sync.everything((FIRST, edited), cache).kept == 2


def test_other_parameters_are_not_blessed(cache: RunCache) -> None:
    edited = changed(SECOND, code="b2", params={"defenses.d": {"y": 1}})
    assert bless.everything((FIRST, edited), cache, "no reason") == []


def test_outputs_that_no_job_made_are_not_blessed(cache: RunCache) -> None:
    make(SECOND, "by hand")
    assert bless.everything((FIRST, changed(SECOND, code="b2")), cache, "no reason") == []
