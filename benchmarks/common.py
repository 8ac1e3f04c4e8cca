"""What the benchmarks share: command line, machine, figures, JSON files, tables.

A benchmark imports this before bdb: a clone then finds its own package without being installed.
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from bdb import __version__, artifacts
from bdb.revision import git_revision
from bdb.training import device as devices

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REPEATS = 5
# Options that say where files lie here, which means nothing elsewhere.
_PLACES = ("out", "data", "unpack", "revision")
Record = dict[str, Any]


def command_line(description: str | None) -> ArgumentParser:
    """A command line without options, which says of itself what a module's first line says."""
    return ArgumentParser(description=(description or "").partition("\n")[0])


def parser(description: str | None) -> ArgumentParser:
    """A command line with the options that every benchmark has."""
    made = command_line(description)
    made.add_argument("--device", default="", help="cpu, cuda or cuda:1; the GPU if there is one")
    made.add_argument("--out", type=Path, help="JSON file; benchmarks/results/<name>-<device>.json")
    made.add_argument("--revision", default="", help="git revision, where git cannot be asked")
    return made


def add_docs(made: ArgumentParser) -> None:
    """The option that says where the pages lie that are filled."""
    made.add_argument("--docs", type=Path, default=ROOT / "docs")


def add_data(made: ArgumentParser) -> None:
    """The option that says where raw data lie."""
    made.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("BDB_DATA") or ROOT / "data" / "raw"),
        help="folder that holds cifar-10-batches-py; BDB_DATA, or data/raw",
    )


def use_data(args: Namespace) -> None:
    """Let bdb and the jobs that are started later find the data, from whatever folder."""
    args.data = args.data.resolve()
    os.environ["BDB_DATA"] = str(args.data)


def pick_device(args: Namespace) -> torch.device:
    """The device that was asked for; jobs that are started later find it in BDB_DEVICE."""
    if args.device or "BDB_DEVICE" not in os.environ:
        os.environ["BDB_DEVICE"] = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return devices.pick()


def workers() -> int:
    """Processes of the baseline's DataLoader: the reference's 4, or as many as there are cores."""
    return min(4, cores())


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def machine(device: torch.device, revision: str = "") -> dict[str, Any]:
    """Where and with what a benchmark was run."""
    with chdir(ROOT):
        revision = revision or git_revision() or "no git here"
    return {
        "device": devices.name(device),
        "cpu": _cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bdb": __version__,
        "git": revision,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def slug(text: str) -> str:
    """A device's name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


class Report:
    """A benchmark's JSON file, written anew whenever something is added."""

    def __init__(self, name: str, args: Namespace, device: torch.device) -> None:
        self.path: Path = args.out or RESULTS / f"{name}-{slug(devices.name(device))}.json"
        self.record: Record = {
            "benchmark": name,
            "machine": machine(device, args.revision),
            "settings": {key: value for key, value in vars(args).items() if key not in _PLACES},
            "results": {},
        }

    def add(self, **results: Any) -> None:
        """Keep results, at once."""
        self.record["results"].update(results)
        artifacts.write_json(self.path, self.record)

    def finish(self, table: Callable[[Record], str]) -> None:
        """Print the table, and say where the file lies."""
        print(f"{caption(self.record)}\n\n{table(self.record)}\n{self.path}")


def figure(value: float, unit: str, repeats: Sequence[float] = ()) -> dict[str, Any]:
    """A measured value; the raw repeats stay beside their median."""
    raw = {"repeats": [_short(repeat) for repeat in repeats]} if repeats else {}
    return {"value": _short(value), "unit": unit, **raw}


def median_of(repeats: Sequence[float], unit: str) -> dict[str, Any]:
    """The median of some repeats."""
    return figure(median(repeats), unit, repeats)


def value(measured: dict[str, Any] | None) -> float:
    """The number in a figure; NaN if it was not measured."""
    return float("nan") if measured is None else float(measured["value"])


def caption(record: Record) -> str:
    """One line on what was measured, where, and with what."""
    where, what = record["machine"], record["results"].get("what", "nothing")
    names = [where["cpu"]] if where["device"] == "cpu" else [where["device"], where["cpu"]]
    return (
        f"{record['benchmark']} ({what}): {', '.join(names)}, cores {where['cores']}, "
        f"threads {where['threads']}, torch {where['torch']}, bdb {where['bdb']} ({where['git']}), "
        f"{where['date'][:10]}"
    )


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; what was not measured is a dash."""
    lines = [header, ["---"] * len(header), *([show(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(cell: object) -> str:
    """A cell of a table: numbers get three digits that count."""
    if not isinstance(cell, float):
        return "–" if cell is None else str(cell)
    if math.isnan(cell):
        return "–"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def percents(rates: Mapping[str, float | None]) -> dict[str, dict[str, Any]]:
    """Fractions as figures in percent; what is not defined is left out."""
    return {
        name: figure(100 * rate, "%")
        for name, rate in rates.items()
        if rate is not None and not math.isnan(rate)
    }


def percent(measured: dict[str, Any] | None) -> str | None:
    """A figure in percent as it stands in tables."""
    return None if measured is None else f"{value(measured):.2f}"


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """How long an action takes, on the device too."""
    synchronize(device)
    start = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - start


def _short(number: float) -> float:
    return float(f"{number:.5g}")


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text() if path.is_file() else "")
    return found[1].strip() if found else platform.processor() or platform.machine()
