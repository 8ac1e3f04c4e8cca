import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import torch

from bdb.errors import ParamsError
from bdb.training import device, leases

# When told to, takes a GPU, writes down when it had it, and holds it for a while.
HOLDER = """
import os, sys, time
from pathlib import Path
from bdb.training import leases
print("ready", flush=True)
sys.stdin.readline()
leases.take(Path(sys.argv[1]), poll=0.01)
begin = time.monotonic()
print(os.environ["CUDA_VISIBLE_DEVICES"], begin, flush=True)
time.sleep(float(sys.argv[2]))
print(time.monotonic(), flush=True)
"""


class Job:
    """A process that takes a GPU."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def complaint(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline().strip()

    def end(self) -> str:
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode in (0, -signal.SIGKILL), err
        return out


class Machine:
    """A machine with GPUs of our own making, and locks of its own."""

    def __init__(self, folder: Path, gpus: int) -> None:
        self.devices = folder / "dev"
        self.locks = folder / "tmp"
        self.devices.mkdir()
        self.locks.mkdir()
        names = [f"nvidia{gpu}" for gpu in range(gpus)]
        for name in (*names, "nvidiactl", "nvidia-uvm", "null"):
            (self.devices / name).touch()

    def start(self, slots: int, seconds: float, jobs: int = 1) -> list["Job"]:
        """Jobs that ask for a GPU at the same moment."""
        started = [Job(self._process(slots, seconds)) for _ in range(jobs)]
        for job in started:
            assert job.line() == "ready"
        for job in started:
            job.go()
        return started

    def _process(self, slots: int, seconds: float) -> subprocess.Popen[str]:
        decided = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "BDB_DEVICE")
        environment = {key: value for key, value in os.environ.items() if key not in decided}
        environment |= {"BDB_JOBS_PER_GPU": str(slots), "TMPDIR": str(self.locks)}
        return subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(self.devices), str(seconds)],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, gpus=3)


@pytest.fixture
def undecided(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The machine, as this process sees it."""
    for name in ("SLURM_JOB_ID", "BDB_DEVICE", "BDB_JOBS_PER_GPU"):
        monkeypatch.delenv(name, raising=False)
    # Set, then deleted: whatever a test leaves here is put back.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(machine.locks))
    held: list[TextIO] = []
    monkeypatch.setattr(leases, "_held", held)
    yield machine
    for file in held:
        file.close()


def most_at_once(spans: list[tuple[float, float]]) -> int:
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


@pytest.mark.parametrize("slots", [1, 2])
def test_twelve_jobs_share_three_gpus_evenly(machine: Machine, slots: int) -> None:
    spans: dict[str, list[tuple[float, float]]] = {}
    for job in machine.start(slots, 0.3, jobs=12):
        gpu, begin, end = job.end().split()
        spans.setdefault(gpu, []).append((float(begin), float(end)))
    assert sorted(spans) == ["0", "1", "2"]
    assert all(most_at_once(gpu_spans) <= slots for gpu_spans in spans.values())
    assert all(3 <= len(gpu_spans) <= 5 for gpu_spans in spans.values())


def test_the_least_loaded_gpu_comes_first(machine: Machine) -> None:
    jobs, taken = [], ""
    for _ in range(6):
        jobs += machine.start(slots=2, seconds=60)
        taken += jobs[-1].line().split()[0]
    assert taken == "012012"
    for job in jobs:
        job.process.kill()
        job.end()


def test_a_killed_job_frees_its_gpu(tmp_path: Path) -> None:
    machine = Machine(tmp_path, gpus=1)
    (first,) = machine.start(slots=1, seconds=60)
    assert first.line().startswith("0 ")
    (second,) = machine.start(slots=1, seconds=0)
    assert second.complaint() == "waiting for a GPU: 1 here, 1 job(s) on each"
    assert second.process.poll() is None
    killed = time.monotonic()
    first.process.kill()
    first.end()
    gpu, begin, _ = second.end().split()
    assert gpu == "0"
    assert float(begin) >= killed


def test_a_job_takes_one_gpu_only(undecided: Machine) -> None:
    for _ in range(3):
        leases.take(undecided.devices)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert len(leases._held) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUDA_VISIBLE_DEVICES", "2"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("SLURM_JOB_ID", "17"),
        ("BDB_DEVICE", "cpu"),
    ],
)
def test_what_is_decided_stays(
    undecided: Machine, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    before = dict(os.environ)
    leases.take(undecided.devices)
    assert dict(os.environ) == before
    assert leases._held == []


@pytest.mark.parametrize(("jobs", "slots"), [(0, "1"), (1, "1"), (3, "1"), (4, "2"), (12, "4")])
def test_jobs_share_the_gpus(undecided: Machine, jobs: int, slots: str) -> None:
    leases.share(jobs, undecided.devices)
    assert os.environ.pop("BDB_JOBS_PER_GPU") == slots


def test_the_user_says_how_many_jobs_share_a_gpu(
    undecided: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BDB_JOBS_PER_GPU", "3")
    leases.share(12, undecided.devices)
    assert leases.jobs_per_gpu() == 3


def test_without_a_gpu_nothing_happens(undecided: Machine, tmp_path: Path) -> None:
    leases.take(tmp_path / "no such folder")
    leases.share(4, tmp_path / "no such folder")
    assert "BDB_JOBS_PER_GPU" not in os.environ
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert list(undecided.locks.iterdir()) == []


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " ", "1000"])
def test_a_bad_number_of_jobs_is_named(
    undecided: Machine, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("BDB_JOBS_PER_GPU", value)
    with pytest.raises(ParamsError, match=f"BDB_JOBS_PER_GPU={value!r}"):
        leases.take(undecided.devices)


def blocked(undecided: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No temporary folder, and a project to be in."""
    file = undecided.locks / "file"
    file.touch()
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(file))
    project = undecided.locks / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


def test_without_a_temporary_folder_locks_lie_in_the_project(
    undecided: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = blocked(undecided, monkeypatch)
    leases.take(undecided.devices)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert (project / ".snakemake/bdb-gpus/gpu0.0").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert "locks of GPUs lie in .snakemake/bdb-gpus" in line


def test_without_any_folder_for_locks_jobs_run_on_the_first_gpu_and_say_so(
    undecided: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (blocked(undecided, monkeypatch) / ".snakemake").touch()
    leases.take(undecided.devices)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("every job takes the first GPU; set TMPDIR to your own")


def test_without_a_word_from_python_on_temporary_files_locks_lie_in_the_project(
    undecided: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked(undecided, monkeypatch)

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(leases.tempfile, "gettempdir", none)
    leases.take(undecided.devices)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert capsys.readouterr().err.startswith("the temporary folder cannot be used: ")


@pytest.mark.usefixtures("undecided")
def test_the_gpu_is_taken_before_torch_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def is_available() -> bool:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return False

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(leases, "count", lambda _: 3)
    assert device.pick().type == "cpu"
    assert seen == ["0"]
