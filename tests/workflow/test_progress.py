"""What a run prints: a line per job, and why one failed, under both engines and every profile."""

import io
import logging
from logging.handlers import QueueHandler
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_bdb import LogHandler

RUN = "digits/convnet/badnets/0.1/s0"
PROFILES = Path(__file__).parents[2] / "workflow" / "profiles"
QUIET = SimpleNamespace(
    printshellcmds=False,
    nocolor=True,
    quiet={"rules"},
    debug_dag=False,
    verbose=False,
    show_failed_logs=False,
    stdout=False,
    dryrun=False,
)


@pytest.fixture
def handler() -> LogHandler:
    return LogHandler(QUIET, None)  # type: ignore[arg-type]


def told(event: LogEvent | None, message: str = "", **facts: Any) -> logging.LogRecord:
    """What Snakemake's logger puts into the queue from which its listener calls the handler."""
    waiting: Queue[logging.LogRecord] = Queue()
    queue = QueueHandler(waiting)
    logger.addHandler(queue)
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, message, (), None)
    vars(record).update(facts, event=event)
    logger.handle(record)
    logger.removeHandler(queue)
    return waiting.get_nowait()


def tell(handler: LogHandler, event: LogEvent | None, message: str = "", **facts: Any) -> None:
    handler.handle(told(event, message, **facts))


def start(handler: LogHandler, log: Path) -> None:
    command = f"export PATH=/x:$PATH; python -m bdb defend {RUN} strip --code 12ab > {log} 2>&1"
    tell(handler, LogEvent.RUN_INFO, stats={"detect": 2, "all": 1, "train_all": 1, "total": 4})
    tell(handler, LogEvent.JOB_INFO, jobid=7, shellcmd=command, log=[str(log)])


def test_a_line_names_stage_run_defense_seconds_and_result(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "it.log"
    start(handler, log)
    log.write_text(f"calibrating\n{RUN} strip: C-Acc 0.93, ASR 0.03\n")
    tell(handler, LogEvent.JOB_FINISHED, job_id=7)
    planned, line = capsys.readouterr().err.splitlines()
    assert planned == "to do: 2 detect"
    assert line == f"[1/2] defend {RUN} strip  0.0 s  C-Acc 0.93, ASR 0.03"


def test_a_failed_jobs_last_lines_are_shown(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "it.log"
    start(handler, log)
    log.write_text("\n".join(f"line {number}" for number in range(40)))
    tell(handler, LogEvent.JOB_ERROR, jobid=7, rule_name="detect", log=[str(log)])
    said = capsys.readouterr().err.splitlines()[1:]
    assert said[0].startswith(f"FAILED defend {RUN} strip")
    assert said[1:] == [f"    line {number}" for number in range(25, 40)]


def test_why_it_failed_is_known_when_another_try_has_taken_the_log_away(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "it.log"
    start(handler, log)
    log.write_text("bdb: elm/a.png is empty\n")
    record = told(LogEvent.JOB_ERROR, jobid=7, rule_name="detect", log=[str(log)])
    log.unlink()  # As Snakemake does before another try, with the record still in the queue.
    handler.handle(record)
    assert capsys.readouterr().err.splitlines()[-1] == "    bdb: elm/a.png is empty"


class Writes(io.StringIO):
    """Notes what comes in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def write(self, text: str) -> int:
        self.made.append(text)
        return len(text)


def test_of_a_plan_every_line_is_written_whole() -> None:
    handler = LogHandler(SimpleNamespace(**vars(QUIET) | {"dryrun": True}), None)  # type: ignore[arg-type]
    handler._usual.setStream(writes := Writes())
    tell(handler, None, "Config file params.yaml is extended")
    assert writes.made == ["Config file params.yaml is extended\n"]


def test_the_log_of_an_executor_does_not_push_out_the_jobs_own(
    handler: LogHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, executors = tmp_path / "it.log", tmp_path / "slurm.log"
    start(handler, log)
    log.write_text("bdb: elm/a.png is empty\n")
    executors.write_text("".join(f"of slurm {number}\n" for number in range(40)))
    logs = [str(log), str(executors)]
    tell(handler, LogEvent.JOB_ERROR, jobid=7, rule_name="detect", log=logs)
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "    bdb: elm/a.png is empty"
    assert str(executors) in said[-2]


def test_the_engines_talk_to_themselves_is_left_out(
    handler: LogHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    for message in (
        "Building DAG of jobs...",
        "Provided cores: 2",
        "Nothing to be done (all ...).",
    ):
        tell(handler, None, message)
    assert capsys.readouterr().err == "Nothing to be done (all ...).\n"


@pytest.mark.parametrize(
    "profile", sorted(PROFILES.glob("*/config.yaml")), ids=lambda p: p.parent.name
)
def test_every_profile_prints_so(profile: Path) -> None:
    assert yaml.safe_load(profile.read_text())["logger"] == "bdb"


def test_both_engines_say_why_a_job_failed(project: Any) -> None:
    project.init_dvc()
    project.params["grid"]["dataset"] = ["folder"]
    leaves = project.folder / "data" / "raw" / "leaves"
    project.params["datasets"] = {"folder": {"path": str(leaves)}}
    project.save()
    for name in ("elm/a.png", "elm/b.png", "oak/a.png", "oak/b.png"):
        (leaves / name).parent.mkdir(parents=True, exist_ok=True)
        (leaves / name).touch()
    ran = project.snakemake("--quiet", "rules", "reason", "host")
    repro = project.dvc("repro", "prepare")
    for done in (ran, repro):
        assert done.returncode != 0
        lines = (done.stdout + done.stderr).splitlines()
        failures = [i for i, line in enumerate(lines) if line.startswith("FAILED prepare folder")]
        assert len(failures) == 2  # The first try, and the one that every profile allows after it.
        for failure in failures:
            assert lines[failure + 1].startswith("    bdb: ")
            assert str(leaves / "elm") in lines[failure + 1]
