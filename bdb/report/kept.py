"""Boards that stay: files in results/boards, for git, which no run and no clean-up touches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bdb import artifacts, layout
from bdb.errors import ArtifactError, ParamsError, short
from bdb.report import compare, population, tables, validity

_NUMBERS = {"poison_ratio": float, "seed": int} | dict.fromkeys(compare.RATES, float)
_WORDS = {name: str for name in (*compare.KEYS, *compare.SETTING) if name not in _NUMBERS}
CELL = [*compare.KEYS, "seed", *compare.SETTING]
_TYPES: dict[str, type] = {**_WORDS, **_NUMBERS}


def keep(name: str, add: bool = False) -> Path:
    """Copy results/board.parquet, costs and origin of every row included.

    Left out is the comparison with published figures, which is made anew whenever a board is read.

    Args:
        name: of the file in results/boards.
        add: to the board that is kept under this name: rows of a cell that stands there (`CELL`)
            take its place, others follow. Which attacks failed is judged anew, over all rows,
            by the default limits, and verdicts are ranked anew among all clean models.

    Raises:
        ParamsError: the name is no name, or taken.
        ArtifactError: there is no board, or it is damaged.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise ParamsError(f"name {short(name)} is not allowed: lower-case letters, digits, - and _")
    path = layout.BOARDS / f"{name}.csv"
    if path.exists() and not add:
        raise ParamsError(f"{path}: is there already; choose another name, remove it, or --add")
    board = _read(layout.RESULTS / "board.parquet")
    if path.exists():
        board = _joined(_read(path), board)
    artifacts.write_text(path, tables.csv(board.drop(columns=compare.COLUMNS, errors="ignore")))
    return path


def _joined(kept: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Both, in the order in which their cells came first; a cell's row is its newest."""
    first = pd.concat([kept, new])[CELL].drop_duplicates()
    rows = pd.concat([kept, new], ignore_index=True).drop_duplicates(CELL, keep="last")
    rows = rows.set_index(CELL).reindex(pd.MultiIndex.from_frame(first)).reset_index()
    ranked = population.calibrate(rows) if "score" in rows else {}
    return rows.assign(**validity.judge(rows), **ranked)[_columns(kept, new)]


def _columns(kept: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """As a board of today has them, then those that only the kept one has."""
    return [*new.columns, *(name for name in kept.columns if name not in new.columns)]


def read(boards: Sequence[str], more: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of boards, given by path or by the name under which they were kept.

    A row that stands in two of them counts once.

    Args:
        boards: which ones.
        more: columns wanted beside those that every board has.

    Raises:
        ArtifactError: a file is missing, damaged, or no board.
    """
    rows = pd.concat([_read(_find(board)) for board in boards], ignore_index=True)
    return rows[[*_TYPES, *more, validity.COLUMN]].drop_duplicates(ignore_index=True)


def _find(board: str) -> Path:
    path, kept = Path(board), layout.BOARDS / f"{board}.csv"
    return kept if kept.is_file() and not path.is_file() else path


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in layout.BOARDS.glob("*.csv"))) or "none"
        raise ArtifactError(f"{path}: no such board; kept are: {names}")
    board = _load(path)
    missing = [name for name in _TYPES if name not in board.columns]
    if missing:
        raise ArtifactError(f"{path}: not a board of this version: no column {missing[0]!r}")
    try:
        board = board.astype(_TYPES)
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged ({error}); make it anew") from None
    # Older boards do not say which attacks failed.
    return board if validity.COLUMN in board else board.assign(**validity.judge(board))


def _load(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return artifacts.read_table(path)
    # A text may be empty, and "none" or "NA" a name; only a number can be missing.
    missing = {name: [""] for name in _NUMBERS}
    try:
        return pd.read_csv(path, dtype=_WORDS, keep_default_na=False, na_values=missing)
    except ValueError as error:
        raise ArtifactError(f"{path}: not CSV ({error})") from None
