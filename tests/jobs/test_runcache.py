"""The run-cache against the real DVC, in both directions, and under many processes at once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdb import artifacts
from bdb.errors import BdbError
from bdb.jobs import runcache
from bdb.jobs.job import Job
from bdb.jobs.runcache import RunCache

PARAMS = {"attacks": {"blended": {"alpha": 0.1, "decay": 1e-05}}, "seeds": [0, 1], "name": "ä"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    dvc("init", "--no-scm", "--quiet")
    dvc("config", "cache.type", "symlink")
    dvc("config", "core.analytics", "false")
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    Path("in").mkdir()
    Path("in/b.bin").write_bytes(b"input b")
    Path("in/a.bin").write_bytes(b"input a")
    return tmp_path


def dvc(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def job(command: str = "", outputs: tuple[str, ...] = ("out/x.bin", "out/y.bin")) -> Job:
    """A job whose command is `python -m bdb train RUN --code CODE`."""
    return Job(
        stage="train",
        arguments=("run" + command,),
        inputs=(Path("in/b.bin"), Path("in/a.bin")),
        outputs=tuple(map(Path, outputs)),
        params={"attacks.blended": PARAMS["attacks"]["blended"], "seeds": [0, 1], "name": "ä"},
        code="c0de",
    )


def cache() -> RunCache:
    found = runcache.find()
    assert found is not None
    return found


def compute(done: Job, text: str = "of") -> None:
    for path in done.outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(f"{path} {text} {done.arguments}")


def stage_of(done: Job, command: str) -> None:
    """The same job as a stage of dvc.yaml."""
    stage = {
        "cmd": command,
        "deps": [str(path) for path in done.inputs],
        "params": list(done.params),
        "outs": [str(path) for path in done.outputs],
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"it": stage}}))


def test_what_was_saved_comes_back_as_links(folder: Path) -> None:
    compute(job())
    cache().save(job())
    for path in job().outputs:
        assert path.is_symlink()
        assert path.resolve().is_relative_to(folder / ".dvc/cache/files/md5")
        assert path.stat().st_mode & 0o777 == 0o444
        path.unlink()
    assert cache().restore(job())
    assert Path("out/x.bin").read_text().startswith("out/x.bin of")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "change",
    [{"params": {}}, {"code": "0ther"}, {"inputs": (Path("in/a.bin"),)}, {"raw": "stamp"}],
    ids=lambda change: next(iter(change)),
)
def test_another_identity_is_another_job(change: dict[str, Any]) -> None:
    compute(job())
    cache().save(job())
    assert not cache().restore(Job(**{**vars(job()), **change}))


@pytest.mark.usefixtures("folder")
def test_other_input_bytes_are_another_job() -> None:
    compute(job())
    cache().save(job())
    Path("in/a.bin").write_bytes(b"INPUT a")
    assert not cache().restore(job())


@pytest.mark.usefixtures("folder")
def test_dvc_restores_what_we_saved() -> None:
    compute(job())
    cache().save(job())
    for path in job().outputs:
        path.unlink()
    stage_of(job(), job().command)
    assert "is cached - skipping run" in dvc("repro")
    assert Path("out/y.bin").read_text().startswith("out/y.bin of")


def test_we_restore_what_dvc_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "fake").mkdir()
    python = folder / "fake" / "python"
    python.write_text("#!/bin/sh\nmkdir -p out; echo x > out/x.bin; echo y > out/y.bin\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{python.parent}:{os.environ['PATH']}")
    stage_of(job(), job().command)
    dvc("repro")
    for path in job().outputs:
        path.unlink()
    assert cache().restore(job())
    assert Path("out/x.bin").read_text() == "x\n"


def test_the_configured_cache_is_used(folder: Path) -> None:
    dvc("config", "--local", "cache.dir", str(folder / "elsewhere"))
    compute(job())
    cache().save(job())
    assert Path("out/x.bin").resolve().is_relative_to(folder / "elsewhere/files/md5")
    stage_of(job(), job().command)
    for path in job().outputs:
        path.unlink()
    assert "is cached - skipping run" in dvc("repro")


def test_without_dvc_there_is_no_cache(tmp_path: Path) -> None:
    assert runcache.find(tmp_path) is None


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["page.html", "a.svg", "a.csv", "a.md", "a.png"])
def test_what_a_person_opens_stays_a_file(name: str) -> None:
    path = Path("results/analyses") / name
    made = job(outputs=(str(path), "out/x.bin"))
    for restored in (False, True):
        if restored:
            path.unlink()
            assert cache().restore(made)
        else:
            compute(made)
            cache().save(made)
        assert not path.is_symlink()
        assert path.stat().st_mode & 0o777 == 0o644
        assert Path("out/x.bin").is_symlink()
        shared = Path("results/shared/analyses") / name
        assert shared.is_symlink()
        assert shared.read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("folder")
def test_a_damaged_object_is_not_restored_and_goes() -> None:
    compute(job())
    cache().save(job())
    held = Path("out/x.bin").resolve()
    held.chmod(0o644)
    with held.open("r+b") as file:
        file.write(b"!")
    with pytest.raises(BdbError, match=r"out/x\.bin: damaged"):
        cache().check_inputs(Job(**{**vars(job()), "inputs": job().outputs}))
    assert not cache().restore(job())
    assert not held.exists()


@pytest.mark.usefixtures("folder")
def test_a_damaged_object_goes_even_where_another_of_its_job_is_gone() -> None:
    compute(job())
    cache().save(job())
    gone, damaged = (path.resolve() for path in job().outputs)
    gone.unlink()
    damaged.chmod(0o644)
    damaged.write_text("!")
    assert not cache().restore(job())
    assert not damaged.exists()


@pytest.mark.usefixtures("folder")
def test_a_link_that_leads_nowhere_is_named_with_its_remedy() -> None:
    compute(job())
    cache().save(job())
    shutil.rmtree(cache().objects)
    reader = Job(**{**vars(job()), "inputs": job().outputs})
    said = r"^out/x\.bin: a link that leads nowhere, .*; `bdb sync` restores or drops it$"
    with pytest.raises(BdbError, match=said):
        cache().check_inputs(reader)
    with pytest.raises(BdbError, match=said):
        artifacts.read_json(job().outputs[0])


@pytest.mark.usefixtures("folder")
def test_a_damaged_entry_is_passed_over() -> None:
    compute(job())
    cache().save(job())
    (entry,) = cache().runs.glob("??/*/*")
    whole = entry.read_text()
    for text in (whole[:40], "[]", "", whole.replace("outs", "ins")):
        entry.write_text(text)
        assert not cache().restore(job())
    entry.write_text(whole)
    assert cache().restore(job())


@pytest.mark.usefixtures("folder")
def test_a_missing_output_is_an_error() -> None:
    compute(job())
    Path("out/y.bin").unlink()
    with pytest.raises(BdbError, match=r"out/y\.bin: the job ended without writing it"):
        cache().save(job())


WORKER = """
import os, shutil, sys
from pathlib import Path

here, tests, shared = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, tests)
from test_runcache import cache, compute, job

(here / ".dvc").mkdir(parents=True)
(here / ".dvc/config").write_text(f"[cache]\\n    dir = {shared}\\n")
shutil.copytree("in", here / "in")
os.chdir(here)
for turn in range(24):
    mine = job(str((int(here.name) + turn) % 8))
    if not cache().restore(mine):
        compute(mine)
        cache().save(mine)
    assert all(str(mine.arguments) in path.read_text() for path in mine.outputs)
"""


def test_many_processes_save_and_restore_at_once(folder: Path) -> None:
    """24 projects with one cache meet over the same eight jobs."""
    shared = folder / "shared"
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen(
            [*command, str(folder / "projects" / str(number)), str(Path(__file__).parent), shared],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for number in range(24)
    ]
    outputs = [worker.communicate()[0].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 24, "".join(outputs)
    objects = [path for path in (shared / "files").rglob("*") if path.is_file()]
    assert len(objects) == 16
    for path in objects:
        assert runcache.content_md5(path) == path.parent.name + path.name
    entries = list(RunCache(shared).entries())
    assert len(entries) == 8
    assert not list(folder.rglob(".*.tmp"))


WATCH = """
import atexit, json, os, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
atexit.register(lambda: print(json.dumps([opened, sorted(sys.modules)])))
"""
# Each takes longer to load than a hit lasts.
HEAVY = {"numpy", "pandas", "pyarrow", "pydantic", "torch", "typer", "yaml", "dvc", "snakemake"}


def test_a_hit_reads_no_parameters_and_loads_no_library(project: Any) -> None:
    project.init_dvc()
    forbidden = project.folder / "forbidden"
    forbidden.mkdir()
    assert project.bdb("prepare", "digits").returncode == 0
    command = project.python(
        "from bdb.jobs import jobs; print(jobs.from_params().prepare('digits').command)"
    ).stdout.split()
    (forbidden / "torch.py").write_text("raise ImportError('torch was imported')\n")
    (forbidden / "sitecustomize.py").write_text(WATCH)
    project.environment["PYTHONPATH"] = f"{forbidden}:{project.folder}"
    project.run(*command)  # Another search path is another sheet; this writes it.
    (project.folder / "data/prepared/digits/test.safetensors").unlink()
    done = project.run(*command)
    assert "linked from the cache" in done.stderr, done.stderr
    opened, modules = json.loads(done.stdout)
    assert not HEAVY & set(modules)
    own = [Path(path) for path in opened if path.startswith((".", str(project.folder)))]
    own = [path for path in own if path.suffix not in (".py", ".pyc")]
    (entry,) = (path for path in own if ".dvc/cache/runs" in str(path))
    assert {path.name for path in own} == {"config", entry.name}
    assert len(own) <= 3
    assert (project.folder / "data/prepared/digits/test.safetensors").is_symlink()
