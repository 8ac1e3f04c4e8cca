"""The comparison in words, for `bdb compare`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bdb.report import tables, validity
from bdb.report.compare import RATES, STATUSES, UNDEFENDED
from bdb.report.ordering import compare_orders

_RATES = ("C-Acc", "ASR", "RA")
_HEADER = ["dataset", "model", "attack", "ratio", "defense", "recipe", "clean set", "seeds"]
_HEADER += [*_RATES, *(f"publ. {name}" for name in _RATES), "status", "reason"]
_ORDER_HEADER = ["dataset", "model", "attack", "ratio", "recipe", "clean set"]
_ORDER_HEADER += ["stopped here by", "published", "agree", "tau", "p"]


def report(table: pd.DataFrame, stops: float, markdown: bool = False) -> str:
    """Table, counts, and the ordering check.

    Args:
        table: as `bdb.report.compare.table` gives it.
        stops: ASR, a fraction, below which an attack counts as stopped.
        markdown: instead of aligned columns.
    """
    layout = tables.markdown if markdown else tables.aligned
    orders = compare_orders(table, stops)
    parts = [layout(_HEADER, [_cells(row) for row in table.to_dict("records")])]
    parts += [
        f"{counts(table)}\n",
        f"Which defense stops which attack: ASR below {100 * stops:g} %\n",
    ]
    if len(orders):
        parts.append(layout(_ORDER_HEADER, [_order(row) for row in orders.to_dict("records")]))
    parts.append(f"{agreement(orders)}\n")
    return "\n".join(parts)


def page(table: pd.DataFrame, stops: float, only_orders: bool = False) -> str:
    """The same as Markdown for a page: what all rows share is said once, above them.

    Args:
        table: as `bdb.report.compare.table` gives it.
        stops: ASR, a fraction, below which an attack counts as stopped.
        only_orders: not the cells.
    """
    orders = compare_orders(table, stops)
    order_rows = [_order(row) for row in orders.to_dict("records")]
    said = f"Attacks stopped, to an ASR below {100 * stops:g} %: {agreement(orders)}.\n"
    parts = [said, _shared(_ORDER_HEADER, order_rows)]
    if only_orders:
        return "\n".join(parts)
    rows = [_cells(row) for row in table.to_dict("records")]
    return "\n".join([_shared(_HEADER, rows), f"Status: {counts(table)}.\n", *parts])


def matrix(table: pd.DataFrame) -> str:
    """C-Acc / ASR by attack and defense: here, and the published ones below."""
    defenses = sorted(set(table["defense"]), key=lambda name: (name != UNDEFENDED, name))
    rows = []
    for _, group in table.groupby(["attack", "poison_ratio"], sort=False):
        cells = group.drop_duplicates("defense").set_index("defense")
        victim = cells.iloc[0]
        name = [tables.attack(victim["attack"]), tables.ratio(victim["poison_ratio"])]
        for whose, prefix in (("here", ""), ("published", "published_")):
            shown = cells[[f"{prefix}c_acc", f"{prefix}asr"]].reindex(defenses)
            if shown.notna().any(axis=None):
                rows.append([*name, whose, *(pair(*each) for each in shown.to_numpy())])
    return tables.markdown(["C-Acc / ASR in %", "ratio", "", *defenses], rows)


def pair(c_acc: float, asr: float) -> str:
    """C-Acc / ASR in percent; nothing of what was not measured."""
    return "" if math.isnan(c_acc) else f"{100 * c_acc:.1f} / {100 * asr:.1f}"


def _shared(header: Sequence[str], rows: tables.Rows) -> str:
    """A Markdown table, without the columns that are the same in every row."""
    columns = list(zip(header, *rows, strict=True))
    same = [column for column in columns if len(rows) > 1 and len(set(column[1:])) == 1]
    kept = [column for column in columns if column not in same]
    said = ", ".join(f"{name} {values[0]}" for name, *values in same)
    first, *rest = zip(*kept, strict=True)
    return (f"All rows: {said}.\n\n" if said else "") + tables.markdown(first, rest)


def counts(table: pd.DataFrame) -> str:
    """How many cells have each status."""
    found = table["comparison"].value_counts()
    named = [f"{status} {found.get(status, 0)}" for status in STATUSES]
    return ", ".join([*named, f"nothing to compare {found.get('', 0)}"])


def agreement(orders: pd.DataFrame) -> str:
    """How far measured and published orders agree over all attacks."""
    cells, agree = int(orders["cells"].sum()), int(orders["agree"].sum())
    if not cells:
        return "no attack of which measured and published orders can be compared"
    attacks = f"{len(orders)} attack{'s' if len(orders) > 1 else ''}"
    tau = orders["tau"].mean()
    mean = "" if math.isnan(tau) else f", mean tau {tau:.2f}"
    return f"{agree} of {cells} cells agree ({100 * agree / cells:.0f} %), {attacks}{mean}"


def _cells(row: Mapping[Any, Any]) -> list[str]:
    rates = [_percent(row[name]) for name in (*RATES, *(f"published_{name}" for name in RATES))]
    return [
        *_keys(row, "defense", "recipe", "clean_set", "seeds"),
        *rates,
        row["comparison"] or "–",
        validity.NAME if row["failed_attack"] else row["reason"],
    ]


def _order(row: Mapping[Any, Any]) -> list[str]:
    stopped = [row[name] or "none" for name in ("measured", "published")]
    numbers = ["–" if math.isnan(row[name]) else f"{row[name]:.2f}" for name in ("tau", "tau_p")]
    agree = f"{row['agree']} of {row['cells']}"
    return [*_keys(row, "recipe", "clean_set"), *stopped, agree, *numbers]


def _keys(row: Mapping[Any, Any], *more: str) -> Iterator[str]:
    yield from (row["dataset"], row["model"], row["attack"], tables.ratio(row["poison_ratio"]))
    yield from (str(row[name]) for name in more)


def _percent(rate: float) -> str:
    return "–" if math.isnan(rate) else f"{100 * rate:.2f}"
