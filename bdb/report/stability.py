"""How much a method's figures hang on its fields: what half and twice of each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bdb.jobs.sweeps import Variation
from bdb.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATES = {"c_acc": "C-Acc", "asr": "ASR"}
_CELL = ["dataset", "model", "attack", "poison_ratio", "seed", "defense"]
COLUMNS = [
    "kind", "method", "field", "usual", "value", *_CELL, *RATES,
    *(f"{name}_change" for name in RATES),
]  # fmt: skip


def table(board: pd.DataFrame, variations: Sequence[Variation]) -> pd.DataFrame:
    """Every cell of every variation beside the cell of its sweep's own fields.

    Args:
        board: rows of `bdb.report.board`.
        variations: what sweeps have put on the grid.

    Returns:
        `COLUMNS`: `method` is the sweep's name; the changes are fractions, the variation's figure
        less the usual one; NaN where either is missing.
    """
    parts = [_beside(board, variation) for variation in variations]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _beside(board: pd.DataFrame, variation: Variation) -> pd.DataFrame:
    kind = variation.kind
    keys = [name for name in _CELL if name != kind]
    usual = board.loc[board[kind] == variation.of, [*keys, *RATES]]
    varied = board.loc[board[kind] == variation.name, [*keys, *RATES]]
    rows = varied.merge(usual, on=keys, suffixes=("", "_usual"))
    changes: dict[str, Any] = {
        f"{name}_change": rows[name] - rows[f"{name}_usual"] for name in RATES
    }
    facts: dict[str, Any] = {
        "kind": kind,
        "method": variation.of,
        "field": variation.field,
        "usual": float(variation.usual),
        "value": float(variation.value),
        kind: variation.of,
    }
    return rows.assign(**facts, **changes)[COLUMNS]


def summarise(changes: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute change of each method's C-Acc and ASR: its stability, 0 at best."""
    sizes = changes.assign(**{name: changes[f"{name}_change"].abs() for name in RATES})
    return sizes.groupby(["kind", "method"], sort=False)[list(RATES)].mean().reset_index()


def draw(changes: pd.DataFrame) -> Figure:
    """A panel per method: by how many points half and twice of each field move C-Acc and ASR."""
    methods = list(dict.fromkeys(changes["method"]))
    fields = [changes.loc[changes["method"] == name, "field"].nunique() for name in methods]
    with style.context():
        figure = style.new_figure(7.4, 1.6 + sum(0.3 * count + 0.75 for count in fields))
        if methods:
            panels = figure.subplots(len(methods), 1, squeeze=False, height_ratios=fields)[:, 0]
            mean = summarise(changes).set_index("method")
            for axes, name in zip(panels, methods, strict=True):
                _panel(axes, changes[changes["method"] == name], name, mean.loc[name])
            looks = panels[0].get_legend_handles_labels()
            figure.legend(*looks, loc="outside upper right", ncols=4)
        note = "Change against the usual value of each field, in points: mean over attacks and "
        note += "seeds. The further from 0, the more the figure hangs on the field."
        style.headline(figure, "How stable", note if methods else "No sweep is on the grid.")
    return figure


def _panel(axes: Axes, changes: pd.DataFrame, method: str, mean: pd.Series) -> None:
    fields = list(dict.fromkeys(changes["field"]))
    for (rate, label), color in zip(RATES.items(), (style.BLUE, style.ORANGE), strict=True):
        for word, marker in (("half", "v"), ("twice", "^")):
            lower = changes["value"] < changes["usual"]
            chosen = changes[lower if word == "half" else ~lower]
            points = 100 * chosen.groupby("field")[f"{rate}_change"].mean()
            rows = [fields.index(field) for field in points.index]
            axes.scatter(points, rows, color=color, marker=marker, label=f"{label}, {word}", s=28)
    axes.axvline(0, color=style.MUTED, linewidth=0.7)
    axes.set_yticks(range(len(fields)), fields)
    axes.set_ylim(len(fields) - 0.5, -0.5)
    axes.grid(visible=True, axis="x")
    axes.set_xlabel("points")
    moved = ", ".join(f"{label} {100 * mean[rate]:.1f}" for rate, label in RATES.items())
    axes.set_title(f"{method}: moved on average by {moved} points", loc="left")
