"""Verdicts on models beside those on clean models: ranks, error rates, ROC curves."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bdb.errors import ArtifactError
from bdb.layout import CLEAN_ATTACK, control_of, is_control
from bdb.metrics import verdicts
from bdb.report import fields, style, tables
from bdb.report.compare import UNDEFENDED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_ASR = 0.9  # of a model that counts as backdoored
FALSE_POSITIVE_RATE = 0.05
UNCALIBRATED = "uncalibrated"
CALIBRATION = ["p_value", "calibration"]
# What two models must share for one to say what is usual of the other.
_ALIKE = ["dataset", "model", "recipe", "clean_set", "setting", "defense"]
_GROUP = ["dataset", "model", "recipe", "clean_set", "setting", "detector"]
COLUMNS = [
    *_GROUP, "attack", "poison_ratio", "seed", "label", "targets", "asr", "score", "flagged",
    "suspect", *CALIBRATION, "seconds", "memory_mb",
]  # fmt: skip
_NUMBERS = (
    "poison_ratio", "seed", "asr", "score", "suspect", "p_value", "seconds", "memory_mb"
)  # fmt: skip
SUMMARY = [
    *_GROUP, "clean", "backdoored", "auroc", "auroc_low", "auroc_high",
    "pool", "tpr_at_5_fpr", "fpr_beside", "own_tpr", "own_fpr", "top1", "seconds", "memory_mb",
]  # fmt: skip


def calibrate(board: pd.DataFrame) -> dict[str, pd.Series]:
    """Rank every verdict's score among those of clean models that were trained as its model was.

    Those are of the same data set, architecture, recipe and detector, all with the same fields: of
    the control that joins the model's attack (`none_<attack>`) where there is one, else of `none`.
    A clean model is ranked among the others of its own kind.

    Args:
        board: rows of `bdb.report.board`.

    Returns:
        On the same index, `p_value` and `calibration`: how many clean models it is a rank among, or
        `uncalibrated`; empty where there is no score.
    """
    rows = board.assign(
        setting=_shared(board), score=pd.to_numeric(board["score"], errors="coerce")
    )
    scored = rows[rows["score"].notna()]
    controls = scored[scored["attack"].map(is_control).astype(bool)]
    clean = dict(iter(controls.groupby([*_ALIKE, "attack"])))
    p_values, calibrations = dict[Any, float](), dict[Any, str]()
    for at, row in scored.iterrows():
        others = _reference(row, clean)
        others = others[others.index != at]
        p_values[at] = verdicts.p_value(row["score"], others["score"].to_numpy(dtype=float))
        calibrations[at] = _count(len(others))
    return {
        "p_value": pd.Series(p_values, dtype=float).reindex(board.index),
        "calibration": pd.Series(calibrations, dtype=object).reindex(board.index, fill_value=""),
    }


def _reference(row: pd.Series, clean: dict[Any, pd.DataFrame]) -> pd.DataFrame:
    """The clean models that a row is ranked among; itself too, if it is one."""
    attack = str(row["attack"])
    names = [attack] if is_control(attack) else [control_of(attack), CLEAN_ATTACK]
    alike = tuple(row[_ALIKE])
    found = (clean.get((*alike, name)) for name in names)
    return next((group for group in found if group is not None), row.to_frame().T.iloc[:0])


def _count(number: int) -> str:
    return f"{number} clean model{'' if number == 1 else 's'}" if number else UNCALIBRATED


def _shared(board: pd.DataFrame) -> list[str]:
    """The setting of each row without the fields of its attack: what other attacks share."""
    return [
        fields.without(setting, attack)
        for setting, attack in zip(board["setting"], board["attack"], strict=True)
    ]


def models(board: pd.DataFrame) -> pd.DataFrame:
    """A row per model and detector that gives a score: `COLUMNS`.

    `label` is `clean`, `backdoored` from an undefended ASR of 90 % on, or `failed`. `setting` is
    without the fields of the attack. `flagged` is missing where the method decides nothing.
    """
    keys = [*_ALIKE[:4], "attack", "poison_ratio", "seed"]
    undefended = board["defense"] == UNDEFENDED
    asr = board[undefended].groupby(keys)["asr"].mean()
    rows = board[board["score"].notna() & ~undefended]
    victims = rows.assign(clean_set=fields.of_victims(rows))[keys]
    reached = asr.reindex(pd.MultiIndex.from_frame(victims)).to_numpy(dtype=float)
    works = np.where(reached >= MIN_ASR, "backdoored", "failed")
    label = np.where(rows["attack"].map(is_control).astype(bool), "clean", works)
    facts: dict[str, Any] = {
        "detector": rows["defense"],
        "setting": _shared(rows),
        "label": label,
        "asr": reached,
        "flagged": rows["backdoored"].astype("boolean"),
    }
    return rows.assign(**facts)[COLUMNS].reset_index(drop=True)


def read(path: Path) -> pd.DataFrame:
    """The models of a file, as a run writes them to results/population.csv.

    Raises:
        ArtifactError: it is missing, damaged, or no such table.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; a run of preset population makes one")
    missing = {name: [""] for name in _NUMBERS}
    words = dict.fromkeys((name for name in COLUMNS if name not in _NUMBERS), str)
    try:
        table = pd.read_csv(path, dtype=words, keep_default_na=False, na_values=missing)
        table = table[COLUMNS].astype(dict.fromkeys(_NUMBERS, float))
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: not a population of this version ({error})") from None
    decided = table["flagged"].map({"True": True, "False": False})
    return table.assign(flagged=decided.astype("boolean"))


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """What each detector is worth, over all models of a data set and architecture: `SUMMARY`.

    `pool` clean models, half of them by a draw that is always the same, fix the threshold that at
    most 5 % of clean models exceed. `tpr_at_5_fpr` is the share of backdoored models above it, and
    `fpr_beside` that of the other clean models. `own_tpr` and `own_fpr` are of the method's own
    decision. `top1`: where the attack has one target, how often that is the most suspicious class.
    Failed attacks are left out. NaN where there are too few models to say.
    """
    rows = [
        [*keys, *_worth(group)]
        for keys, group in table[table["label"] != "failed"].groupby(_GROUP, sort=False)
    ]
    return pd.DataFrame(rows, columns=pd.Index(SUMMARY))


def _worth(group: pd.DataFrame) -> list[float]:
    clean, bad = (group[group["label"] == label] for label in ("clean", "backdoored"))
    scores, high = clean["score"].to_numpy(dtype=float), bad["score"].to_numpy(dtype=float)
    interval = verdicts.auroc_interval(high, scores, np.random.default_rng(0))
    pool, beside = verdicts.split(len(scores), np.random.default_rng(0))
    limit = verdicts.threshold(scores[pool], FALSE_POSITIVE_RATE)
    known = np.isfinite(limit)
    at_limit = (_share(high > limit), _share(scores[beside] > limit)) if known else (np.nan,) * 2
    own = _flagged(bad), _flagged(clean)
    costs = (float(group[name].mean()) for name in ("seconds", "memory_mb"))
    counts = len(clean), len(bad), verdicts.auroc(high, scores), *interval, len(pool)
    return [*counts, *at_limit, *own, _top1(bad), *costs]


def _top1(bad: pd.DataFrame) -> float:
    """How often the most suspicious class is the target, where there is one of either."""
    targets = pd.to_numeric(bad["targets"], errors="coerce")
    known = targets.notna() & bad["suspect"].notna()
    return _share((targets == bad["suspect"])[known].to_numpy())


def _flagged(rows: pd.DataFrame) -> float:
    """How many of the models the method's own decision calls backdoored; NaN if it makes none."""
    return _share(rows["flagged"].dropna().to_numpy(dtype=bool))


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if len(mask) else np.nan


def by_attack(table: pd.DataFrame) -> pd.DataFrame:
    """Of each detector and kind of model: how many, AUROC against all clean ones, share flagged.

    Kinds are an attack and its ratio, and what clean models were trained like; AUROC is of attacks.
    """
    rows = []
    for keys, group in table.groupby(_GROUP, sort=False):
        clean = group.loc[group["label"] == "clean", "score"].to_numpy(dtype=float)
        kinds = group.groupby(["attack", "poison_ratio", "label"], sort=False)
        for (attack, ratio, label), rest in kinds:
            scores = rest["score"].to_numpy(dtype=float)
            found = verdicts.auroc(scores, clean) if label != "clean" else np.nan
            facts = (attack, ratio, label, len(rest), found, _flagged(rest))
            rows.append([*keys, *facts, float(rest["score"].median()), _top1(rest)])
    names = ["attack", "poison_ratio", "label", "models", "auroc", "flagged", "score", "top1"]
    return pd.DataFrame(rows, columns=pd.Index([*_GROUP, *names]))


def as_tables(table: pd.DataFrame) -> list[tuple[str, list[list[str]]]]:
    """Title and rows of both summaries, per data set, architecture and recipe; first the header."""
    found = []
    for keys, group in table.groupby(_GROUP[:3], sort=False):
        name = " ".join(map(str, keys))
        worth = [_cells(row) for row in summarise(group).to_dict("records")]
        kinds = [_kind(row) for row in by_attack(group).to_dict("records")]
        found.append((f"{name}: every model", [_HEADER, *worth]))
        found.append((f"{name}: by what was done to the model", [_KINDS, *kinds]))
    return found


def markdown(table: pd.DataFrame) -> str:
    """The same in Markdown."""
    parts = [f"{title}\n\n{tables.markdown(rows[0], rows[1:])}" for title, rows in as_tables(table)]
    return "\n".join(parts) or "No model has a verdict with a score.\n"


_HEADER = [
    "detector", "clean", "backdoored", "AUROC (95 %)", "TPR at 5 % FPR", "FPR there",
    "TPR, own threshold", "FPR, own threshold", "target found", "s a model", "MB",
]  # fmt: skip
_KINDS = [
    "detector",
    "models",
    "ratio",
    "number",
    "AUROC",
    "flagged",
    "median score",
    "target found",
]


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    rates = ("tpr_at_5_fpr", "fpr_beside", "own_tpr", "own_fpr", "top1")
    return [
        str(row["detector"]),
        str(row["clean"]),
        str(row["backdoored"]),
        f"{_number(row['auroc'])} ({_number(row['auroc_low'])} to {_number(row['auroc_high'])})",
        *(_percent(row[name]) for name in rates),
        _number(row["seconds"]),
        f"{row['memory_mb']:.0f}",
    ]


def _kind(row: Mapping[Hashable, Any]) -> list[str]:
    failed = ", failed" if row["label"] == "failed" else ""
    return [
        str(row["detector"]),
        f"{tables.attack(str(row['attack']))}{failed}",
        tables.ratio(float(row["poison_ratio"])),
        str(row["models"]),
        _number(row["auroc"]),
        _percent(row["flagged"]),
        _number(row["score"]),
        _percent(row["top1"]) if row["label"] != "clean" else "–",
    ]


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.0f} %"


def draw(table: pd.DataFrame) -> Figure:
    """A ROC curve per detector, a panel per data set and architecture."""
    table = table[table["label"] != "failed"]
    both = table.groupby(_GROUP[:3], sort=False)["label"].transform("nunique") == 2
    panels = list(table[both].groupby(_GROUP[:3], sort=False))
    with style.context():
        figure = style.new_figure(max(4.8, 4.2 * len(panels)), 4.6)
        if panels:
            axes = figure.subplots(1, len(panels), squeeze=False)[0]
            for each, (keys, group) in zip(axes, panels, strict=True):
                _panel(each, group)
                each.set_title(" ".join(map(str, keys)), loc="left")
        note = "Share of backdoored models above a threshold over that of clean ones."
        lack = "No detector has scores of both clean and backdoored models."
        style.headline(figure, "Verdicts on models", note if panels else lack)
    return figure


def _panel(axes: Axes, group: pd.DataFrame) -> None:
    from sklearn.metrics import roc_curve

    for order, (keys, rows) in enumerate(group.groupby(["detector", "setting"], sort=False)):
        truth, scores = rows["label"] == "backdoored", rows["score"].to_numpy(dtype=float)
        if truth.nunique() < 2:
            continue
        false, true, _ = roc_curve(truth, scores)
        area = verdicts.auroc(scores[truth], scores[~truth])
        color = style.PALETTE[order % len(style.PALETTE)]
        axes.plot(false, true, color=color, label=f"{keys[0]}, {area:.2f}")
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.7, linestyle=":")
    axes.set(xlabel="false positives", ylabel="true positives", xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_aspect("equal")
    axes.grid(visible=True)
    axes.legend(loc="lower right", title="detector, AUROC")
