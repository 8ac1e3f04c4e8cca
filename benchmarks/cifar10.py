"""docs/cifar10.md, from a kept board: every attack on CIFAR-10, beside what was published."""

from __future__ import annotations

import math
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common
import pandas as pd

from bdb import registry
from bdb.layout import is_control
from bdb.report import compare, compare_text, kept, readme, tables

BOARD = "cifar10-airbench94"
BESIDE = "preactresnet18"  # whose published figures are shown
MARKER = "cifar10"
KEYS = ["attack", "poison_ratio"]
COSTS = ["psnr", "seconds"]
# C-Acc / ASR in the attack's own paper, where its figure was read; of other networks and recipes.
PAPERS = {
    "flip": "ASR 99.4",
    "ribac": "94.4 / 100",
    "sleeper_agent": "ASR 85.3, over 24 pairs of classes",
}
HEADER = ["attack", "ratio", "C-Acc", "ASR", "RA", "PSNR dB", "minutes", "board", "paper"]


def text(board: pd.DataFrame) -> str:
    """What the attacks reach, and what defenses leave of it."""
    cells = compare.table(board, BESIDE)
    order = sorted(cells.index, key=lambda index: _place(cells.loc[index]))
    return f"{attacks(board)}\n### Under defenses\n\n{compare_text.matrix(cells.loc[order])}"


def attacks(board: pd.DataFrame) -> str:
    """A row per attack and ratio, the control first, and the attacks that have none."""
    victims = board[board["defense"] == compare.UNDEFENDED]
    victims = victims.assign(**victims[COSTS].apply(pd.to_numeric))
    costs = victims.groupby(KEYS, sort=False)[COSTS].mean()
    rows = compare.table(victims, BESIDE).join(costs, on=KEYS).to_dict("records")
    rows.sort(key=_place)
    parts = [tables.markdown(HEADER, [_row(row) for row in rows])]
    if lacking := missing(set(victims["attack"])):
        parts.append(f"Not run: {', '.join(lacking)}.\n")
    return "\n".join(parts)


def missing(run: set[str]) -> list[str]:
    """The attacks of the registry that the board has no victim of; controls and imports aside."""
    return [
        name
        for name in registry.names("attack")
        if name not in run and not is_control(name) and not registry.get("attack", name).brought
    ]


def _place(row: Mapping[Any, Any]) -> tuple[bool, str, float]:
    return not is_control(row["attack"]), row["attack"], row["poison_ratio"]


def _row(row: Mapping[Any, Any]) -> list[str]:
    name = tables.attack(row["attack"]) + (" (failed)" if row["failed_attack"] else "")
    rates = [f"{100 * row[rate]:.1f}" for rate in compare.RATES]
    psnr = "" if math.isnan(row["psnr"]) or is_control(row["attack"]) else f"{row['psnr']:.1f}"
    published = [row["published_c_acc"], row["published_asr"]]
    shown = (
        "" if any(map(math.isnan, published)) else " / ".join(f"{100 * v:.1f}" for v in published)
    )
    ratio = tables.ratio(row["poison_ratio"])
    return [
        name,
        ratio,
        *rates,
        psnr,
        f"{row['seconds'] / 60:.0f}",
        shown,
        PAPERS.get(row["attack"], ""),
    ]


def options() -> ArgumentParser:
    """The command line."""
    made = common.command_line(__doc__)
    made.add_argument("--board", default=BOARD, help="a kept board's name, or a file")
    made.add_argument("--docs", type=Path, default=common.ROOT / "docs")
    return made


def main(arguments: list[str] | None = None) -> None:
    """Fill the page."""
    args = options().parse_args(arguments)
    readme.insert(args.docs / "cifar10.md", text(kept.read([args.board], COSTS)), MARKER)


if __name__ == "__main__":
    main()
