"""Which defense is better than which, and whether chance could have made it look so."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bdb import layout
from bdb.layout import is_control
from bdb.metrics import paired
from bdb.report import fields, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is compared, and whether a high value is good.
JUDGED = {"asr": False, "c_acc": True, "der": True}
LABELS = {"asr": "ASR", "c_acc": "C-Acc", "der": "DER"}
MARGIN = 0.02  # closer than this is as good
VICTIM = ["dataset", "model", "recipe", "clean_set", "attack", "poison_ratio"]
COLUMNS = [
    "metric", "defense", "other", "attacks", "victims", "difference", "low", "high", "p", "p_holm",
    "worse", "as_good", "better",
]  # fmt: skip


@dataclass(frozen=True)
class Significance:
    """What the board allows to be said of two defenses, and of all.

    Attributes:
        pairs: `COLUMNS`, a row per metric and pair of defenses: over how many attacks and victims
            they were compared, the mean of the one's figure less the other's with its 95 % interval
            (bootstrap over attacks), Wilcoxon's p and that p corrected for the number of pairs
            (Holm), and how probable it is that the one is worse than the other, within 2 points of
            it, or better.
        overall: per metric Friedman's test over the victims that all of its defenses were tried on,
            mean ranks (1 is best), Nemenyi's critical difference, and which were left out.
    """

    pairs: pd.DataFrame
    overall: dict[str, Any]


def judge(board: pd.DataFrame) -> Significance:
    """Compare all defenses, and none, pairwise and as a whole.

    A problem is a victim (an attack at a ratio on some data and network): its figure is the mean
    over the seeds that both of a pair, or all that are ranked, have in common, since seeds of one
    victim are no independent problems. Controls and failed attacks are left out.

    Where cells are given several clean sets, no two that are given different ones are compared.

    Args:
        board: rows of `bdb.report.board`.
    """
    board = board.assign(clean_set=fields.of_victims(board))
    attacked = board[~board["attack"].map(is_control).astype(bool) & ~board["failed_attack"]]
    pairs: list[pd.DataFrame] = []
    overall: dict[str, Any] = {}
    for metric in JUDGED:
        wide = _wide(attacked, metric)
        pairs.append(_pairs(wide, metric))
        overall |= {
            layout.given(metric, name) if name else metric: _overall(part, metric)
            for name, part in _by_clean_set(wide).items()
        }
    table = pd.concat(pairs, ignore_index=True)
    return Significance(table, overall)


def _wide(board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row per victim and seed, a column per defense."""
    index = [*VICTIM, "seed"]
    wide = board.pivot_table(metric, index, "defense", aggfunc="mean", sort=False, observed=True)
    return wide.reindex(columns=board["defense"].unique())


def _by_clean_set(wide: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each of several clean sets the columns under it and under none; all under no name."""
    given = [layout.clean_set_of(name) for name in wide.columns]
    names = list(dict.fromkeys(filter(None, given))) or [""]
    return {name: wide.loc[:, [each in ("", name) for each in given]] for name in names}


def _over_seeds(wide: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds that all columns have."""
    return wide.dropna().groupby(level=VICTIM, sort=False).mean()


def _pairs(wide: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = [
        [metric, one, other, *_pair(_over_seeds(wide[[one, other]]), JUDGED[metric])]
        for one, other in combinations(wide.columns, 2)
        if len({layout.clean_set_of(one), layout.clean_set_of(other)} - {""}) < 2
        and (wide[one].notna() & wide[other].notna()).any()
    ]
    table = pd.DataFrame(rows, columns=pd.Index([name for name in COLUMNS if name != "p_holm"]))
    return table.assign(p_holm=paired.holm(table["p"].to_numpy(dtype=float)))[COLUMNS]


def _pair(both: pd.DataFrame, high_is_good: bool) -> list[float]:
    differences = (both.iloc[:, 0] - both.iloc[:, 1]).to_numpy()
    attacks = both.index.get_level_values("attack").to_numpy()
    interval = paired.interval_over_groups(differences, attacks)
    better = differences if high_is_good else -differences
    p, chances = paired.signed_rank_p(differences), paired.chances(better, MARGIN)
    return [len(set(attacks)), len(both), differences.mean(), *interval, p, *chances]


def _overall(wide: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Rank those defenses that were tried on the same victims."""
    complete = _complete(wide)
    left_out = [str(name) for name in wide.columns if name not in complete.columns]
    if complete.empty:
        return {"victims": 0, "left_out": left_out}
    whole = _over_seeds(complete)
    scores = whole.to_numpy() * (1 if JUDGED[metric] else -1)
    found = paired.ranks(scores)
    ranks = {str(name): round(float(rank), 3) for name, rank in zip(whole, found.mean, strict=True)}
    return {
        "victims": len(whole),
        "attacks": whole.index.get_level_values("attack").nunique(),
        "friedman": _number(found.statistic),
        "p": _number(found.p),
        "critical_difference": round(found.critical_difference, 3),
        "ranks": dict(sorted(ranks.items(), key=lambda item: item[1])),
        "left_out": left_out,
    }


def _complete(wide: pd.DataFrame) -> pd.DataFrame:
    """The largest part without a hole, at least two columns wide; empty if there is none."""
    known = wide.notna().to_numpy()
    candidates = [columns for columns in np.unique(known, axis=0) if columns.sum() > 1]
    parts = [wide[(known >= columns).all(1)].loc[:, columns] for columns in candidates]
    return max(parts, key=lambda part: part.size, default=wide.iloc[:0, :0])


def _number(value: float) -> float | None:
    """As JSON has it, which knows no NaN."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def draw(overall: dict[str, Any]) -> Figure:
    """Mean ranks with bars of half the critical difference; a panel per metric."""
    sets = list(dict.fromkeys(map(layout.clean_set_of, overall)))
    names = sorted(overall, key=lambda name: sets.index(layout.clean_set_of(name)))
    shown = {name: overall[name] for name in names if overall[name]["victims"]}
    tallest = max((len(found["ranks"]) for found in shown.values()), default=1)
    columns = min(len(shown), len(JUDGED))
    rows = -(-len(shown) // columns) if shown else 1
    with style.context():
        figure = style.new_figure(2.6 * max(columns, 2) + 1, (1.5 + 0.2 * tallest) * rows)
        if shown:
            panels = figure.subplots(rows, columns, squeeze=False).flat
            for axes, (name, found) in zip(panels, shown.items(), strict=False):
                _draw_ranks(axes, _label(name), found)
        note = (
            "1 is best. Where the bars of two defenses overlap, chance alone may have ordered them"
        )
        note += " (Nemenyi, 5 %). Only defenses tried on the same victims are ranked."
        style.headline(figure, "Mean ranks of the defenses", note if shown else "Nothing to rank.")
    return figure


def _label(name: str) -> str:
    """A metric, and the clean set under which defenses are ranked by it, as people call them."""
    return ", ".join(filter(None, (LABELS[layout.defense_of(name)], layout.clean_set_of(name))))


def _draw_ranks(axes: Axes, label: str, found: dict[str, Any]) -> None:
    names, ranks = list(found["ranks"]), list(found["ranks"].values())
    half = found["critical_difference"] / 2
    axes.errorbar(
        ranks, range(len(ranks)), xerr=half, fmt="o", color=style.BLUE, ecolor=style.MUTED,
        ms=4, elinewidth=2, alpha=0.9,
    )  # fmt: skip
    axes.set_yticks(range(len(names)), ["no defense" if n == "none" else n for n in names])
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x")
    axes.set(title=f"{label} on {found['victims']} victims", xlabel="mean rank")
