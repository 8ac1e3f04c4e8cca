"""What Snakemake tells a person: a line per finished job, the end of a failed one's log, a bar.

Snakemake finds this package by its name; the profiles choose it (`logger: bdb`). A line names
stage, run, defense, seconds and result. On a terminal a bar below says how much is left.
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter, logger
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from bdb.console import say
from bdb.jobs import folders

_SHOWN = 15  # lines of a failed job's log
_WIDTH = 300  # letters of a result
_NAME = re.compile(r"-m bdb (.+?)(?= --| >|$)")
# What failed has been said when its job did.
_SAID = {"CalledProcessError", "RuleException"}
_NOISE = (
    "Assuming ",
    "Building DAG",
    "Execute ",
    "Provided ",
    "Rules claiming",
    "Select jobs",
    "Singularity containers",
    "Using shell",
)


@dataclass(frozen=True)
class _Job:
    name: str
    logs: tuple[Path, ...]
    start: float

    @property
    def seconds(self) -> str:
        return f"{time.monotonic() - self.start:.1f} s"

    def result(self) -> str:
        """The last thing that the job wrote, without its name."""
        last = (_lines(self.logs) or ["done"])[-1]
        names = (self.name, self.name.partition(" ")[2])
        return next((last[len(name) + 2 :] for name in names if last.startswith(f"{name}: ")), last)


def _lines(logs: Iterable[str | Path]) -> list[str]:
    """What a job wrote, but for empty lines."""
    texts = (path.read_text("utf-8", "replace") for path in map(Path, logs) if path.is_file())
    return [line for text in texts for line in text.splitlines() if line.strip()]


class _Usual(ColorizingTextHandler):  # type: ignore[misc]
    """Snakemake's own lines; it writes their ends apart, and other threads could come between."""

    stream: Any

    def emit(self, record: LogRecord) -> None:
        """Write all that a record says at once."""
        stream, whole = self.stream, io.StringIO()
        self.stream = whole
        super().emit(record)
        self.stream = stream
        stream.write(whole.getvalue())
        stream.flush()


class LogHandler(LogHandlerBase):
    """Writes to standard error."""

    def __post_init__(self) -> None:
        """Start without a job, before Snakemake looks for its cache folder."""
        folders.stand_in()
        settings = self.common_settings
        logger.addFilter(self._read_failed_log)
        self._jobs: dict[int, _Job] = {}
        self._bar = _Bar()
        self._usual = _Usual(
            nocolor=settings.nocolor,
            formatter=DefaultFormatter(settings.quiet, show_failed_logs=True),
            filter=DefaultFilter(
                settings.quiet,
                settings.debug_dag,
                settings.verbose,
                settings.dryrun,
                settings.printshellcmds,
            ),
        )

    @property
    def writes_to_stream(self) -> bool:
        """In place of Snakemake's own lines."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake keeps a file of its own."""
        return False

    @property
    def has_filter(self) -> bool:
        """No option keeps a failure from being shown."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Lines are made here."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """No."""
        return False

    def emit(self, record: LogRecord) -> None:
        """Show what a person wants to know; a plan, and what was asked for, as Snakemake does."""
        if self.common_settings.dryrun or self.common_settings.verbose:
            self._usual.handle(record)
            return
        handlers = {
            None: self._message,
            LogEvent.RUN_INFO: self._planned,
            LogEvent.JOB_INFO: self._known,
            LogEvent.JOB_FINISHED: self._finished,
            LogEvent.JOB_ERROR: self._failed,
            LogEvent.GROUP_ERROR: self._usual.handle,
            LogEvent.ERROR: self._error,
        }
        handler: Any = handlers.get(getattr(record, "event", None))
        if handler:
            handler(record)

    def close(self) -> None:
        """Take the bar away."""
        logger.removeFilter(self._read_failed_log)
        self._bar.stop()
        super().close()

    def _read_failed_log(self, record: Any) -> bool:
        """Read a failed job's log while it is there: another try removes it before handlers look.

        Its own log, where it is known: an executor's, which may come with it, says less.
        """
        if getattr(record, "event", None) == LogEvent.JOB_ERROR:
            job = self._jobs.get(record.jobid)
            record.lines = _lines(job.logs if job else record.log)[-_SHOWN:]
        return True

    def _message(self, record: LogRecord) -> None:
        text = record.getMessage()
        is_noise = hasattr(record, "quietness") or text.startswith(_NOISE)
        if text.strip() and (record.levelno >= WARNING or not is_noise):
            self._bar.say(text)

    def _error(self, record: LogRecord) -> None:
        if getattr(record, "exception", "") not in _SAID:
            self._bar.say(record.getMessage())

    def _planned(self, record: Any) -> None:
        counts = {rule: n for rule, n in record.stats.items() if rule not in ("total", "all")}
        counts = {rule: n for rule, n in counts.items() if not rule.endswith("_all")}
        self._bar.start(sum(counts.values()))
        self._bar.say("to do: " + ", ".join(f"{n} {rule}" for rule, n in counts.items()))

    def _known(self, record: Any) -> None:
        found = _NAME.search(record.shellcmd or "")
        if found:
            logs = tuple(map(Path, record.log))
            self._jobs[record.jobid] = _Job(found[1], logs, time.monotonic())

    def _finished(self, record: Any) -> None:
        job = self._jobs.pop(record.job_id, None)
        if job:
            self._bar.advance()
            self._bar.say(f"{self._bar.count} {job.name}  {job.seconds}  {job.result()[:_WIDTH]}")

    def _failed(self, record: Any) -> None:
        job = self._jobs.pop(record.jobid, None)
        name, seconds = (job.name, job.seconds) if job else (record.rule_name, "")
        where = ", ".join(map(str, record.log))
        log = (f"    {line}" for line in record.lines)
        self._bar.say("\n".join((f"FAILED {name}  {seconds}  {where}", *log)))


class _Bar:
    """How much is left: a bar on a terminal, a count at the start of lines elsewhere."""

    def __init__(self) -> None:
        self._done = self._total = 0
        self._progress: Any = None

    @property
    def count(self) -> str:
        return f"[{self._done}/{self._total}]"

    def start(self, total: int) -> None:
        if self._total:
            return
        self._total = total
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("jobs", total=total)
            self._progress.start()

    def advance(self) -> None:
        self._done += 1
        if self._progress:
            self._progress.advance(self._task)

    def say(self, text: str) -> None:
        if self._progress:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)

    def stop(self) -> None:
        if self._progress:
            self._progress.stop()
