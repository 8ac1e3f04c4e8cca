"""docs/cifar10.md, from a kept board: every attack on CIFAR-10, beside what was published."""

from __future__ import annotations

import math
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any, cast

import common
import pandas as pd

from bdb import registry
from bdb.attacks.base import Attack
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
    "sleeper_agent": "ASR 85.3, over more than 20 pairs of classes",
}
HEADER = ["attack", "ratio", "C-Acc", "ASR", "RA", "PSNR dB", "minutes", "board", "paper"]


def text(board: pd.DataFrame) -> str:
    """What the attacks reach, and what defenses leave of it."""
    cells = compare.table(board, BESIDE)
    cells = cells.sort_values(KEYS, key=_control_first, kind="stable")
    victims = cells[cells["defense"] == compare.UNDEFENDED].join(costs(board), on=KEYS)
    parts = [tables.markdown(HEADER, [_row(row) for row in victims.to_dict("records")])]
    if lacking := missing(set(victims["attack"])):
        parts.append(f"Not run: {', '.join(lacking)}.\n")
    return "\n".join([*parts, "### Under defenses\n", compare_text.matrix(cells)])


def costs(board: pd.DataFrame) -> pd.DataFrame:
    """`COSTS` of the victims, means over seeds, by `KEYS`."""
    victims = board[board["defense"] == compare.UNDEFENDED]
    numbers = victims[COSTS].apply(pd.to_numeric)  # A board's blanks are texts.
    return numbers.groupby([victims[key] for key in KEYS]).mean()


def missing(run: set[str]) -> list[str]:
    """The attacks of the registry that the board has no victim of; controls and imports aside."""
    names = [name for name in registry.names("attack") if name not in run and not is_control(name)]
    return [name for name in names if not cast(type[Attack], registry.get("attack", name)).brought]


def _control_first(key: pd.Series) -> pd.Series:
    """A key to sort by, of which names of controls come before the others."""
    return key.map(lambda it: (not is_control(it), it)) if key.name == "attack" else key


def _row(row: Mapping[Any, Any]) -> list[str]:
    name = tables.attack(row["attack"]) + (" (failed)" if row["failed_attack"] else "")
    rates = [f"{100 * row[rate]:.1f}" for rate in compare.RATES]
    psnr = "" if math.isnan(row["psnr"]) or is_control(row["attack"]) else f"{row['psnr']:.1f}"
    published = compare_text.pair(row["published_c_acc"], row["published_asr"])
    beside = [f"{row['seconds'] / 60:.0f}", published, PAPERS.get(row["attack"], "")]
    return [name, tables.ratio(row["poison_ratio"]), *rates, psnr, *beside]


def options() -> ArgumentParser:
    """The command line."""
    made = common.command_line(__doc__)
    made.add_argument("--board", default=BOARD, help="a kept board's name, or a file")
    common.add_docs(made)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Fill the page."""
    args = options().parse_args(arguments)
    readme.insert(args.docs / "cifar10.md", text(kept.read([args.board], COSTS)), MARKER)


if __name__ == "__main__":
    main()
