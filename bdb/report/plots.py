"""The board as pictures: ASR, C-Acc, what the one costs of the other, and what follows of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bdb.layout import is_control
from bdb.report import clean_sets, population, significance, stability, style, tables
from bdb.report.compare import UNDEFENDED
from bdb.report.findings import Findings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CROWDED = 15  # more defenses than this, and their names no longer fit upright


def write(found: Findings, folder: Path) -> list[Path]:
    """Draw every picture of a report.

    Args:
        found: what there is to say. Single seeds show faintly in the trade-off, and means with
            half-widths of their 95 % intervals.
        folder: where to.
    """
    summary = found.summary
    with style.context():
        figures = {
            "asr": _heat_maps(
                summary, "asr_mean", "Attack success rate", "Oranges", "low is good", 0.0
            ),
            "c_acc": _heat_maps(
                summary, "c_acc_mean", "Clean accuracy", "Blues", "high is good", None
            ),
            "tradeoff": _tradeoff(found.board, summary),
        }
    figures["ranks"] = significance.draw(found.judged.overall)
    figures["stability"] = stability.draw(found.swept)
    figures["clean_sets"] = clean_sets.draw(found.given)
    figures["roc"] = population.draw(found.models)
    paths = {folder / f"{name}.svg": figure for name, figure in figures.items()}
    for path, figure in paths.items():
        style.save_svg(figure, path)
    return list(paths)


def _attack_name(name: str, ratio: float, several: bool, failed: bool) -> str:
    """An attack as people call it, with its ratio where there are several."""
    if is_control(name):
        return tables.attack(name)
    called = f"{name}  {tables.ratio(ratio)}" if several else name
    return f"{called} (failed)" if failed else called


def _defense_name(name: str) -> str:
    """A defense as people call it."""
    return "no defense" if name == UNDEFENDED else name


def _heat_maps(
    summary: pd.DataFrame, value: str, title: str, colors: str, hint: str, lowest: float | None
) -> Figure:
    """One map of attack x defense per data set and model, one below the other."""
    groups = [
        (" · ".join(map(str, names)), _grid(group, value))
        for names, group in summary.groupby(["dataset", "model"], sort=False)
    ]
    if lowest is None:
        least = float(summary[value].min())
        lowest = min(0.9, np.floor(least * 10) / 10) if least == least else 0.0
    rows = [len(grid) for _, grid in groups] or [1]
    columns = max((grid.shape[1] for _, grid in groups), default=1)
    figure = style.new_figure(2.6 + 0.62 * columns, 1.5 + sum(0.34 * row + 0.9 for row in rows))
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, (name, grid) in zip(panels, groups, strict=False):
        image = _heat_map(axes, grid, colors, lowest)
        axes.set_title(name, loc="left")
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, aspect=15)
        bar.ax.yaxis.set_major_formatter("{x:.0%}")
        bar.outline.set_visible(False)
    style.headline(figure, f"{title} ({hint})", "In percent, mean over seeds.")
    return figure


def _grid(group: pd.DataFrame, value: str) -> pd.DataFrame:
    """Attack (and ratio, where there are several) x defense, in the order of the frame."""
    ratios = group.loc[group["poison_ratio"] > 0, "poison_ratio"].nunique()
    names = [
        _attack_name(str(attack), ratio, several=ratios > 1, failed=failed)
        for attack, ratio, failed in group[["attack", "poison_ratio", "failed_attack"]].to_numpy()
    ]
    rows, columns = list(dict.fromkeys(names)), list(dict.fromkeys(group["defense"]))
    columns.sort(key=lambda name: name != UNDEFENDED)
    wide = group.assign(row=names).pivot_table(index="row", columns="defense", values=value)
    return wide.reindex(index=rows, columns=columns)


def _heat_map(axes: Axes, grid: pd.DataFrame, colors: str, lowest: float) -> Any:
    values = grid.to_numpy(dtype=float)
    axes.set_facecolor(style.FAINT)
    image = axes.imshow(
        values, cmap=colors, vmin=lowest, vmax=1, aspect="auto", interpolation="none"
    )
    axes.set_xticks(
        range(grid.shape[1]),
        [_defense_name(str(name)) for name in grid.columns],
        rotation=90 if grid.shape[1] > _CROWDED else 30,
        ha="center" if grid.shape[1] > _CROWDED else "right",
        rotation_mode="default" if grid.shape[1] > _CROWDED else "anchor",
    )
    axes.set_yticks(range(len(grid)), list(grid.index))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), number in np.ndenumerate(values):
        known = bool(np.isfinite(number))
        dark = known and (number - lowest) / (1 - lowest) > 0.6
        text = f"{100 * number:.1f}" if known else "–"
        color = "white" if dark else style.INK
        axes.text(column, row, text, ha="center", va="center", color=color, size=style.SMALL)
    return image


def _tradeoff(board: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """C-Acc against ASR: a point per attack and defense, a colour and marker per defense."""
    board, summary = (
        table[~table["attack"].map(is_control) & ~table["failed_attack"]]
        for table in (board, summary)
    )
    defenses = sorted(dict.fromkeys(summary["defense"]), key=lambda name: name != UNDEFENDED)
    figure = style.new_figure(7.4, max(4.6, 1.2 + 0.19 * len(defenses)))
    axes = figure.subplots()
    for order, defense in enumerate(defenses):
        look = _look(order)
        seeds = board[board["defense"] == defense]
        axes.scatter(seeds["c_acc"], seeds["asr"], s=9, alpha=0.3, linewidths=0, **look)
        _means(axes, summary[summary["defense"] == defense], _defense_name(str(defense)), look)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylim(-0.04, 1.04)
    axes.grid(visible=True)
    axes.set(xlabel="clean accuracy", ylabel="attack success rate")
    axes.annotate(
        "better ↘", (0.99, 0.02), xycoords="axes fraction", ha="right", va="bottom",
        color=style.MUTED,
    )  # fmt: skip
    if defenses:  # None is left where every attack failed, or the control stands alone.
        figure.legend(loc="outside right upper")
    note = "Large: an attack's mean over seeds with its 95 % interval. Small: single seeds."
    note += " Failed attacks are left out."
    style.headline(figure, "What a defense costs and what it stops", note)
    return figure


def _look(order: int) -> dict[str, Any]:
    """Colour and marker of the n-th defense; sixty-four of them differ."""
    turn = order // len(style.PALETTE)
    marker = style.MARKERS[(order + turn) % len(style.MARKERS)]
    return {"color": style.PALETTE[order % len(style.PALETTE)], "marker": marker}


def _means(axes: Axes, rows: pd.DataFrame, label: str, look: dict[str, Any]) -> None:
    axes.errorbar(
        rows["c_acc_mean"],
        rows["asr_mean"],
        xerr=_reach(rows, "c_acc"),
        yerr=_reach(rows, "asr"),
        label=label,
        linestyle="none",
        markersize=7,
        markeredgecolor="white",
        markeredgewidth=0.6,
        elinewidth=0.8,
        **look,
    )


def _reach(rows: pd.DataFrame, name: str) -> np.ndarray:
    """How far the interval reaches below and above the mean: 2 x N."""
    low, mean, high = (rows[f"{name}_{which}"] for which in ("low", "mean", "high"))
    return np.stack([(mean - low).fillna(0), (high - mean).fillna(0)])
