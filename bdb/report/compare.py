"""Measured cells beside published ones: within tolerance, outside, or not to be relied on.

The figures, the tolerances and the reasons are data: `published/leaderboard.csv` and
`published/rules.json`. Rates are fractions here, as on the board; tolerances are points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from bdb.method import Frozen
from bdb.report import setting, validity

FOLDER = Path(__file__).parent / "published"
# The identity of the report's code follows Python files alone: this makes it follow the data too.
DATA_SHA256 = "0f26ecf2e6e369da66d50c04cd0d5debbf8d60bfb13a7d024c5514688f7d9824"

UNDEFENDED = validity.UNDEFENDED
KEYS = ["dataset", "model", "attack", "poison_ratio", "defense"]
SETTING = ["recipe", "clean_set", "setting"]
RATES = ["c_acc", "asr", "ra"]
JUDGED = {"c_acc": "C-Acc", "asr": "ASR"}
COLUMNS = [*(f"published_{name}" for name in RATES), "comparison", "reason"]

WITHIN, OUTSIDE, UNRELIABLE, OTHER = "within", "outside", "unreliable", "other setting"
_ROUNDING = 0.0002  # two rows that come from one model differ by no more
STATUSES = (WITHIN, OUTSIDE, UNRELIABLE, OTHER)

Cell = Mapping[Any, Any]


class Rule(Frozen):
    """Which cells something is said of: glob patterns, `|` between alternatives.

    `when` names a column of `published()` that must be true as well.
    """

    dataset: str = "*"
    model: str = "*"
    attack: str = "*"
    poison_ratio: str = "*"
    defense: str = "*"
    clean_set: str = "*"
    when: Literal["repeats_no_defense", "ra_above_c_acc"] | None = None

    def matches(self, cell: Cell) -> bool:
        """Whether it speaks of this cell."""
        patterns = ((str(cell[name]), getattr(self, name)) for name in (*KEYS, "clean_set"))
        given = all(_is_any(value, pattern) for value, pattern in patterns)
        return given and (self.when is None or bool(cell[self.when]))


class Tolerance(Rule):
    """Up to how many points apart measured and published figures agree; the first match counts."""

    c_acc: float = Field(gt=0)
    asr: float = Field(gt=0)


class Unreliable(Rule):
    """A published figure that is not what it claims, and why."""

    reason: str


class Explanation(Rule):
    """What the reference does otherwise, and which gap that can explain."""

    metric: str = Field(pattern=r"^(c_acc|asr)(\|(c_acc|asr))?$")
    measured: Literal["above", "below", "either"]
    reason: str

    def explains(self, cell: Cell, metric: str, side: str) -> bool:
        """Whether it can be why the measured figure lies on this side of the published one."""
        fits = _is_any(metric, self.metric) and self.measured in (side, "either")
        return fits and self.matches(cell)


class Rules(Frozen):
    """All of rules.json."""

    tolerances: tuple[Tolerance, ...]
    unreliable: tuple[Unreliable, ...]
    explains: tuple[Explanation, ...]


@lru_cache(maxsize=1)
def rules() -> Rules:
    """How figures are compared."""
    return Rules.model_validate_json((FOLDER / "rules.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def published() -> pd.DataFrame:
    """The published figures as fractions, by `KEYS`, and what rules ask of a row."""
    table = pd.read_csv(FOLDER / "leaderboard.csv", keep_default_na=False)
    table[RATES] = (table[RATES] / 100).round(6)
    victims = table[table["defense"] == UNDEFENDED].drop(columns=["defense", "source"])
    before = table[KEYS].merge(victims, how="left", on=KEYS[:4])[RATES]
    same = (before - table[RATES]).abs().le(_ROUNDING).all(axis=1)
    table["repeats_no_defense"] = same & (table["defense"] != UNDEFENDED)
    table["ra_above_c_acc"] = table["ra"] > table["c_acc"]
    return table.rename(columns={name: f"published_{name}" for name in RATES})


def table(board: pd.DataFrame, beside: str | None = None) -> pd.DataFrame:
    """A row per cell and setting: means over seeds, compared with what was published.

    Args:
        board: rows of one or more boards: `KEYS`, `SETTING`, `RATES`, `seed` and `failed_attack`;
            a seed whose attack failed counts only where it did so for every seed.
        beside: the network whose published figures are shown, instead of the row's own.
    """
    keys = [*KEYS, *SETTING]
    groups = validity.counted(board, keys).groupby(keys, sort=False)
    failed = board.groupby(keys, sort=False)["failed_attack"].all()
    means = groups[RATES].mean().assign(seeds=groups["seed"].nunique(), failed_attack=failed)
    means = means.reindex(failed.index).reset_index()
    return means.assign(**judge(means, beside))


def judge(cells: pd.DataFrame, beside: str | None = None) -> pd.DataFrame:
    """Compare cells with what was published of them.

    Args:
        cells: `KEYS`, `SETTING`, and the rates `c_acc` and `asr`.
        beside: the network whose published figures are shown, instead of the row's own. Of another
            network only the order of defenses can be compared, so the status says as much.

    Returns:
        `COLUMNS` for each, on the same index; empty where nothing was published or measured.
    """
    measured = _by_method(cells[[*KEYS, *SETTING, *JUDGED]].astype({"poison_ratio": float}))
    measured["poison_ratio"] = _published_ratios(measured)
    measured["network"] = ""
    if beside:
        others = measured["model"].where(measured["model"] != beside, "")
        measured["network"] = others.where(others == "", others + f" beside {beside}")
        measured["model"] = beside
    table = measured.merge(published(), how="left", on=KEYS, validate="many_to_one")
    verdicts = [_verdict(cell) for cell in table.to_dict("records")]
    table[COLUMNS[-2:]] = pd.DataFrame(verdicts, columns=COLUMNS[-2:], dtype=object)
    return table[COLUMNS].set_axis(cells.index)


def models() -> list[str]:
    """The networks of which figures are published."""
    return sorted(published()["model"].unique())


def lone_ratios() -> dict[str, float]:
    """The poison ratio of each attack that was published under a single one."""
    ratios = published().groupby("attack")["poison_ratio"].agg(["nunique", "first"])
    lone = ratios.loc[ratios["nunique"].eq(1), "first"]
    return {str(attack): float(ratio) for attack, ratio in lone.items()}


def _published_ratios(cells: pd.DataFrame) -> pd.Series:
    """The ratios of cells; an attack that has none here may have been published under one."""
    ratios = cells["poison_ratio"]
    return ratios.where(ratios > 0, cells["attack"].map(lone_ratios())).fillna(ratios)


def _by_method(cells: pd.DataFrame) -> pd.DataFrame:
    """The same cells under the names of methods, where these are instances of some."""
    behind = [setting.methods(text) for text in cells["setting"]]
    names = {
        key: [methods.get(name, name) for name, methods in zip(cells[key], behind, strict=True)]
        for key in KEYS
    }
    return cells.assign(**names)


def _verdict(cell: Cell) -> tuple[str, str]:
    """Status and reason of one cell."""
    if not all(math.isfinite(cell[name]) for name in (*JUDGED, "published_asr")):
        return "", ""
    for rule in rules().unreliable:
        if rule.matches(cell):
            return UNRELIABLE, rule.reason
    if changed := f"{cell['network']} {setting.changes(cell['setting'])}".strip():
        return OTHER, changed
    gaps = _gaps(cell)
    return (OUTSIDE, ". ".join(_explain(cell, gaps))) if gaps else (WITHIN, "")


def _gaps(cell: Cell) -> dict[str, float]:
    """Measured less published in points, where that is more than is tolerated."""
    tolerance = next(rule for rule in rules().tolerances if rule.matches(cell))
    # Rounded, for 0.9132 - 0.9062 is a little more than 0.007.
    gaps = {name: round(100 * (cell[name] - cell[f"published_{name}"]), 6) for name in JUDGED}
    return {name: gap for name, gap in gaps.items() if abs(gap) > getattr(tolerance, name)}


def _explain(cell: Cell, gaps: Mapping[str, float]) -> Iterator[str]:
    for metric, gap in gaps.items():
        side = "above" if gap > 0 else "below"
        reasons = [r.reason for r in rules().explains if r.explains(cell, metric, side)]
        if reasons:
            yield f"{JUDGED[metric]} {side}: {'; '.join(reasons)}"


def _is_any(value: str, patterns: str) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns.split("|"))
