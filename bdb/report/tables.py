"""Tables as text: for a file, for a terminal, for a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bdb.layout import CLEAN_ATTACK, control_of, is_control

Rows = Sequence[Sequence[str]]


def csv(table: pd.DataFrame) -> str:
    """A frame as CSV; numbers with up to six decimals."""
    rounded = table.copy()
    for name in rounded.select_dtypes(include=[np.number]).columns:
        rounded[name] = rounded[name].round(6)
    return rounded.to_csv(index=False, lineterminator="\n")


def ratio(value: float) -> str:
    """A poison ratio as a person reads it: a dash where there is none to speak of."""
    return f"{value:g}" if value else "–"


def attack(name: str) -> str:
    """An attack as people call it."""
    if not is_control(name):
        return name
    lender = name.removeprefix(control_of(""))
    return "no attack" if name == CLEAN_ATTACK else f"no attack, trained as {lender}"


def aligned(header: Sequence[str], rows: Rows) -> str:
    """Columns of equal width: numbers to the right, words to the left."""
    columns = list(zip(header, *rows, strict=True))
    padded = [_pad(column) for column in columns]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True)) + "\n"


def markdown(header: Sequence[str], rows: Rows) -> str:
    """The same in Markdown."""
    lines = [_line(header), "|" + " --- |" * len(header), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _pad(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    is_number = all(_is_number(cell) for cell in column[1:])
    return [cell.rjust(width) if is_number else cell.ljust(width) for cell in column]


def _is_number(cell: str) -> bool:
    return cell in ("", "–") or cell.lstrip("-").replace(".", "", 1).isdigit()
