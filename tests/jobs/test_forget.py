"""`bdb forget`: what was forgotten is computed anew, and nothing else."""

from pathlib import Path

import pytest

from bdb.errors import ParamsError
from bdb.jobs import runcache
from bdb.jobs.forget import forget
from bdb.jobs.job import Job
from bdb.jobs.runcache import RunCache

RUN = "digits/convnet/badnets/0.1/s0"
PREPARE = Job("prepare", ("digits",), (), (Path("data/p.bin"),), {}, "a1")
TRAIN = Job("train", (RUN,), PREPARE.outputs, (Path("results/victims/v.bin"),), {}, "b1")
CELLS = [
    Job("defend", (RUN, name), TRAIN.outputs, (Path(f"results/cells/{name}.bin"),), {}, "c1")
    for name in ("ft", "anp")
]
JOBS = [PREPARE, TRAIN, *CELLS]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCache:
    """All jobs done, and DVC's own stage over the cells."""
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    found = runcache.require()
    for job in JOBS:
        for path in job.outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(job.name)
        found.save(job)
    entry = found.runs / "aa" / "stage" / "whole"
    entry.parent.mkdir(parents=True)
    entry.write_text("cmd: snakemake defend_all\nouts:\n- path: results/cells\n  md5: 1.dir\n")
    return found


def known(cache: RunCache) -> list[Job]:
    return [job for job in JOBS if cache.lookup(job)]


def test_a_cell_alone(cache: RunCache) -> None:
    assert forget(JOBS, cache, RUN, "ft") == [CELLS[0]]
    assert known(cache) == [PREPARE, TRAIN, CELLS[1]]
    assert not CELLS[0].outputs[0].is_symlink()
    assert CELLS[1].outputs[0].is_file()
    assert not (cache.runs / "aa/stage").exists()


def test_a_run_and_all_that_is_of_it(cache: RunCache) -> None:
    assert forget(JOBS, cache, RUN) == [TRAIN, *CELLS]
    assert known(cache) == [PREPARE]
    assert PREPARE.outputs[0].is_file()
    assert not any(path.is_symlink() for job in (TRAIN, *CELLS) for path in job.outputs)


@pytest.mark.parametrize(("run", "defense"), [("digits/convnet/badnet/0.1/s0", ""), (RUN, "ftt")])
def test_what_is_not_planned_is_refused(cache: RunCache, run: str, defense: str) -> None:
    with pytest.raises(ParamsError, match=r"is not known; did you mean"):
        forget(JOBS, cache, run, defense)
    assert known(cache) == JOBS
