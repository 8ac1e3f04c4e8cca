"""Put the benchmarks' figures into README.md and docs/benchmarks.md, from their JSON files.

README gets what `SHORT` names, docs/benchmarks.md everything.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Collection
from pathlib import Path

import common
import defenses
import engine
import majority
import training
import trigger_picture
import triggers
from common import Record
from session import summary

from bdb import artifacts
from bdb.report import readme

MARKER = "benchmarks"
TABLES: dict[str, Callable[[Record], str]] = {
    "gpu": summary.table,
    "training": training.table,
    "defenses": defenses.table,
    "triggers": triggers.table,
    "trigger_picture": trigger_picture.table,
    "majority": majority.table,
    "engine": engine.table,
}
SHORT = ("gpu", "training", "engine")


def read(folder: Path) -> list[Record]:
    """Every benchmark's record, in the order of `TABLES`; rehearsals prove nothing."""
    records = [artifacts.read_json(path) for path in sorted(folder.glob("*.json"))]
    known = [record for record in records if not record["settings"].get("rehearse")]
    return sorted(known, key=lambda record: list(TABLES).index(record["benchmark"]))


def text(records: list[Record], names: Collection[str]) -> str:
    """The captions and tables of the benchmarks with these names."""
    parts = [
        f"{common.caption(record)}\n\n{TABLES[record['benchmark']](record)}"
        for record in records
        if record["benchmark"] in names
    ]
    return "\n".join(parts)


def options() -> ArgumentParser:
    """The command line."""
    made = common.command_line(__doc__)
    made.add_argument("--results", type=Path, default=common.RESULTS, help="folder of JSON files")
    made.add_argument("--readme", type=Path, default=common.ROOT / "README.md")
    made.add_argument("--docs", type=Path, default=common.ROOT / "docs" / "benchmarks.md")
    return made


def main(arguments: list[str] | None = None) -> None:
    """Fill both files."""
    args = options().parse_args(arguments)
    records = read(args.results)
    readme.insert(args.readme, text(records, SHORT), MARKER)
    readme.insert(args.docs, text(records, TABLES), MARKER)


if __name__ == "__main__":
    main()
