"""Which defense stops which attack: an order that a small victim may share with a published one."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bdb.metrics import statistics
from bdb.report import fields
from bdb.report.compare import KEYS, SETTING, UNDEFENDED, UNRELIABLE

VICTIM = [*KEYS[:4], *SETTING]
COLUMNS = [*VICTIM, "cells", "agree", "measured", "published", "tau", "tau_p"]


def compare_orders(table: pd.DataFrame, stops: float) -> pd.DataFrame:
    """Compare per victim which defenses stop the attack, measured and published.

    Args:
        table: as `bdb.report.compare.table` gives it.
        stops: ASR, a fraction, below which an attack counts as stopped.

    Returns:
        A row per victim: how many of its cells can be compared, how many agree on whether the
        attack is stopped, the defenses that stop it, and Kendall's tau of the two ASR with its
        permutation p (NaN where either is the same for all). Failed attacks are left out.
    """
    cells = _comparable(table, stops)
    groups = cells.groupby(VICTIM, sort=False)
    rows = [[*keys, *_row(group, stops)] for keys, group in groups]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _comparable(table: pd.DataFrame, stops: float) -> pd.DataFrame:
    """Defended cells with reliable figures, of attacks that work both here and there."""
    pairs = zip(table["setting"], table["defense"], strict=True)
    of_victims = {"clean_set": fields.of_victims(table)}
    table = table.assign(setting=[fields.without(*pair) for pair in pairs], **of_victims)
    known = table[["asr", "published_asr"]].notna().all(axis=1)
    table = table[known & (table["comparison"] != UNRELIABLE)]
    is_victim = table["defense"] == UNDEFENDED
    works = (table[["asr", "published_asr"]] >= stops).all(axis=1)
    works &= ~table["failed_attack"]
    victims = pd.MultiIndex.from_frame(table.loc[is_victim & works, VICTIM])
    cells = table[~is_victim]
    return cells[pd.MultiIndex.from_frame(cells[VICTIM]).isin(victims)]


def _row(group: pd.DataFrame, stops: float) -> list[Any]:
    here, there = group["asr"] < stops, group["published_asr"] < stops
    stopped = [" ".join(group.loc[stop, "defense"]) for stop in (here, there)]
    return [len(group), int((here == there).sum()), *stopped, *_tau(group)]


def _tau(group: pd.DataFrame) -> tuple[float, float]:
    from scipy import stats

    if len(group) < 2:
        return float("nan"), float("nan")
    here, there = group["asr"].to_numpy(), group["published_asr"].to_numpy()
    return float(stats.kendalltau(here, there).statistic), statistics.tau_p(here, there)
