"""What a defender's clean images are worth: C-Acc and ASR over how many there are, and whence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bdb import layout
from bdb.jobs.plan import CleanShare
from bdb.layout import is_control
from bdb.metrics import statistics
from bdb.report import style
from bdb.report.compare import UNDEFENDED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RATES = {"c_acc": "clean accuracy", "asr": "attack success rate"}
_LINE = ["dataset", "model", "defense", "kind"]
_STATISTICS = ("mean", "low", "high")
COLUMNS = [
    *_LINE, "share", "attacks", "seeds",
    *(f"{name}_{which}" for name in RATES for which in _STATISTICS),
]  # fmt: skip
_ASIDE = 1.02
_DASHES = ("-", "--", ":", "-.")


def table(board: pd.DataFrame, given: Mapping[tuple[str, str], CleanShare]) -> pd.DataFrame:
    """What each defense reaches under each of several clean sets.

    Args:
        board: rows of `bdb.report.board`.
        given: the clean set of each data set and cell that has one of several.

    Returns:
        `COLUMNS`, a row per data set, model, defense and clean set: `kind` without its size, which
        is `share`, of the training set. Defenses that need none, and no defense, have no kind and
        a share of NaN. Figures are means over attacks that worked, and then over seeds, with 95 %
        intervals over seeds. Empty where there are no several clean sets.
    """
    worked = board[~board["attack"].map(is_control).astype(bool) & ~board["failed_attack"]]
    if worked.empty or not given:
        return pd.DataFrame(columns=COLUMNS)
    pairs = zip(worked["dataset"], worked["defense"], strict=True)
    found = [given.get(pair, CleanShare("", np.nan)) for pair in pairs]
    rows = worked.assign(
        defense=worked["defense"].map(layout.defense_of),
        kind=[each.kind for each in found],
        share=[each.share for each in found],
    )
    groups = rows.groupby([*_LINE, "share"], sort=False, dropna=False)
    lines = [[*keys, *_figures(group)] for keys, group in groups]
    return pd.DataFrame(lines, columns=pd.Index(COLUMNS))


def _figures(rows: pd.DataFrame) -> list[Any]:
    by_seed = rows.groupby("seed")[list(RATES)].mean()
    figures: list[Any] = [rows["attack"].nunique(), len(by_seed)]
    for name in RATES:
        values = by_seed[name].to_numpy(dtype=float)
        figures += [values.mean(), *statistics.interval(values, 0.0, 1.0)]
    return figures


def draw(found: pd.DataFrame) -> Figure:
    """C-Acc and ASR over the size of the clean set: a colour per defense, a dash per kind."""
    places = list(found.groupby(["dataset", "model"], sort=False))
    with style.context():
        figure = style.new_figure(8.6, 1.4 + 3.2 * max(len(places), 1))
        if places:
            panels = figure.subplots(len(places), len(RATES), squeeze=False)
            looks = _looks(found)
            for line, (names, rows) in zip(panels, places, strict=True):
                for axes, rate in zip(line, RATES, strict=True):
                    _panel(axes, rows, rate, looks)
                line[0].set_title(" · ".join(map(str, names)), loc="left")
            _legend(figure, found, looks)
        note = "Mean over attacks that worked, with its 95 % interval over seeds where there are"
        note += " several. Level lines: defenses that need no clean images, and no defense."
        lack = "There is one clean set, or no attack that worked."
        style.headline(figure, "What clean images are worth", note if places else lack)
    return figure


Looks = tuple[Mapping[str, str], Mapping[str, Mapping[str, Any]]]


def _looks(found: pd.DataFrame) -> Looks:
    """The colour of each defense, and dash and marker of each kind of clean set."""
    defenses = [name for name in found["defense"].unique() if name != UNDEFENDED]
    colors = {name: style.PALETTE[n % len(style.PALETTE)] for n, name in enumerate(defenses)}
    kinds = found["kind"][found["kind"] != ""].unique()
    marks = {
        kind: {
            "linestyle": _DASHES[n % len(_DASHES)],
            "marker": style.MARKERS[n % len(style.MARKERS)],
        }
        for n, kind in enumerate(kinds)
    }
    return {**colors, UNDEFENDED: style.MUTED}, marks


def _panel(axes: Axes, rows: pd.DataFrame, rate: str, looks: Looks) -> None:
    colors, marks = looks
    lines = list(rows.groupby(["defense", "kind"], sort=False))
    for order, ((defense, kind), line) in enumerate(lines):
        color = colors[str(defense)]
        if not kind:
            axes.axhline(float(line[f"{rate}_mean"].iloc[0]), color=color, linewidth=1)
            continue
        points = line.sort_values("share")
        mean = points[f"{rate}_mean"]
        reach = [mean - points[f"{rate}_low"], points[f"{rate}_high"] - mean]
        aside = _ASIDE ** (order - len(lines) / 2)  # or intervals would hide each other
        axes.errorbar(
            aside * points["share"], mean, yerr=np.nan_to_num(reach), color=color, markersize=5,
            markeredgecolor="white", markeredgewidth=0.6, elinewidth=0.8, capsize=2,
            **marks[str(kind)],
        )  # fmt: skip
    shares = sorted(rows["share"].dropna().unique())
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set(xlabel="clean images, of the training set", ylabel=RATES[rate])
    if rate == "asr":
        axes.set_ylim(-0.04, 1.04)
    axes.grid(visible=True)


def _legend(figure: Figure, found: pd.DataFrame, looks: Looks) -> None:
    from matplotlib.lines import Line2D

    colors, marks = looks
    shown = [name for name in colors if name in set(found["defense"])]
    lines = [
        Line2D([], [], color=colors[name], label="no defense" if name == UNDEFENDED else name)
        for name in shown
    ]
    lines += [Line2D([], [], color=style.INK, label=kind, **mark) for kind, mark in marks.items()]
    figure.legend(handles=lines, loc="outside right upper")
