"""The board: one row per cell, and its summary over seeds."""

from __future__ import annotations

import shlex
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from bdb import artifacts, layout
from bdb.jobs.plan import Plan
from bdb.layout import Run, is_control
from bdb.metrics import statistics
from bdb.report import compare, population, setting, tables, validity
from bdb.report.compare import SETTING, UNDEFENDED

GROUP = compare.KEYS
KEYS = [*GROUP[:4], "seed", "defense"]
# What differs between two runs of the same params on the same machine.
COSTS = ["seconds", "memory_mb", "date"]
DETECTION = (
    "tpr",
    "fpr",
    "f1",
    "flagged_cross",
    "auroc",
    "average_precision",
    "tpr_at_1_fpr",
    "tpr_at_5_fpr",
)
# Of some attacks only: left out of the tables where no attack has them.
SOME = ("asr_leak", "asr_worst", "cross_acc")
RATES = ("c_acc", "asr", "ra", *SOME, "der", "rir")
COLUMNS = (
    *KEYS,
    *SETTING,
    *validity.COLUMNS,
    "adaptive",
    *RATES,
    *compare.COLUMNS,
    *(f"{split}_{name}" for split in ("train", "inputs") for name in DETECTION),
    "backdoored",
    "suspected_targets",
    "targets",
    "suspect",
    "score",
    *population.CALIBRATION,
    "psnr",
    "ssim",
    *COSTS,
    "device",
    "torch",
    "bdb",
    "git",
    "code",
    "command",
)
SUMMARISED = ("c_acc", "asr", "ra", *SOME, "der", "seconds")
STATISTICS = ("mean", "low", "high", "min", "max")


def make(plan: Plan) -> pd.DataFrame:
    """Gather metrics and provenance; the row of defense `none` is the victim itself.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    rows = [
        row | _setting(plan, run, row["defense"]) for run in plan.runs for row in _rows(plan, run)
    ]
    board = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    limits = plan.settings.validity
    valid = validity.judge(board, limits.min_asr, limits.max_c_acc_loss)
    ranked = population.calibrate(board)
    return board.assign(**compare.judge(board), **valid, **ranked)


def summarise(board: pd.DataFrame) -> pd.DataFrame:
    """Over the seeds of a cell: mean, 95 % interval cut to the possible, and range.

    A seed whose attack failed does not count, and `failed_seeds` says how many those are. Where
    every seed failed the figures are of them all, and `failed_attack` is true. The means are
    compared with the published figures as the cells of the board are.
    """
    if validity.COLUMN not in board:
        board = board.assign(**validity.judge(board))
    keys = [*GROUP, *SETTING]
    failed = board.groupby(keys, sort=False)["failed_attack"].agg(["sum", "all"])
    adaptive = board.groupby(keys, sort=False)["adaptive"].any() if "adaptive" in board else False
    counted = validity.counted(board, keys)
    groups = counted.groupby(keys, sort=False)
    summary = groups.size().rename("seeds").to_frame()
    for name in (name for name in SUMMARISED if name in board):
        values, highest = counted[name].to_numpy(dtype=float), inf if name in COSTS else 1.0
        found = statistics.by_group(values, groups.ngroup().to_numpy(), 0.0, highest)
        summary[[f"{name}_{which}" for which in STATISTICS]] = found.T
    facts = {"failed_seeds": failed["sum"], "failed_attack": failed["all"], "adaptive": adaptive}
    for place, (name, fact) in enumerate(facts.items(), start=1):
        summary.insert(place, name, fact)
    summary = summary.reindex(failed.index).reset_index()
    victims = summary[summary["defense"] == UNDEFENDED].set_index(GROUP[:4])["c_acc_mean"]
    before = victims.reindex(pd.MultiIndex.from_frame(summary[GROUP[:4]])).to_numpy()
    means = summary.assign(**{name: summary[f"{name}_mean"] for name in compare.JUDGED})
    return summary.assign(c_acc_loss_mean=before - summary["c_acc_mean"], **compare.judge(means))


def costs(board: pd.DataFrame) -> pd.DataFrame:
    """What every cell took; the only table that a second run does not repeat byte by byte."""
    return board[[*KEYS, *COSTS]]


def without_costs(table: pd.DataFrame) -> pd.DataFrame:
    """The board or its summary, without what a second run does not repeat, and what no row has."""
    empty = [name for name in table.columns if name.startswith(SOME) and table[name].isna().all()]
    kept = [name for name in table.columns if not name.startswith(tuple(COSTS))]
    return table[kept].drop(columns=empty)


def metrics(summary: pd.DataFrame) -> dict[str, Any]:
    """Nested means, as `dvc metrics` shows them."""
    nested: dict[str, Any] = {}
    for row in summary.to_dict("records"):
        branch = nested
        for key in GROUP:
            branch = branch.setdefault(str(row[key]), {})
        for name in ("c_acc", "asr", "ra"):
            value = row[f"{name}_mean"]
            if np.isfinite(value):
                branch[name] = round(float(value), 4)
    return nested


def markdown(summary: pd.DataFrame) -> str:
    """The summary as tables: C-Acc and ASR in percent, a row per attack, a column per defense."""
    parts = []
    for keys, group in summary.groupby(["dataset", "model"], sort=False):
        seeds = int(group["seeds"].max())
        title = " ".join(map(str, keys))
        parts.append(f"{title}, {seeds} seed{'s' if seeds > 1 else ''}: C-Acc / ASR in %\n")
        parts.append(_markdown_table(group))
    return "\n".join(parts)


def _markdown_table(group: pd.DataFrame) -> str:
    defenses = list(dict.fromkeys(group["defense"]))
    header = ["attack", "ratio", *("no defense" if d == UNDEFENDED else d for d in defenses)]
    lines = []
    for (attack, ratio), rows in group.groupby(["attack", "poison_ratio"], sort=False):
        by_defense = rows.set_index("defense")
        cells = [_percent(by_defense, name) for name in defenses]
        failed = "" if not rows["failed_attack"].all() else f" ({validity.NAME})"
        lines.append([f"{attack}{failed}", tables.ratio(float(str(ratio))), *cells])
    return tables.markdown(header, [*lines, *_average(group, defenses), *_worst(group, defenses)])


def _average(group: pd.DataFrame, defenses: list[str]) -> list[list[str]]:
    """The mean over the attacks that worked and stand under every defense; none of fewer than two.

    A defense is not to look better for the attacks that it was not tried on.
    """
    worked = group[~group["attack"].map(is_control) & ~group["failed_attack"]]
    counts = worked.groupby(["attack", "poison_ratio"])["defense"].transform("nunique")
    whole = worked[counts == len(defenses)]
    attacks = len(whole) // len(defenses)
    if attacks < 2:
        return []
    means = whole.groupby("defense")[["c_acc_mean", "asr_mean"]].mean()
    return [[f"mean of {attacks}", "", *(_percent(means, name) for name in defenses)]]


def worst(summary: pd.DataFrame) -> pd.DataFrame:
    """Per data set, model, setting of all, and defense: the attack that knows of it and does best.

    Returns:
        The summary's row with the highest ASR among those that are `adaptive` and worked.
    """
    known = summary[summary["adaptive"].astype(bool) & ~summary["failed_attack"]]
    known = known[known["asr_mean"].notna()]
    group = ["dataset", "model", "recipe", "clean_set", "defense"]
    return known.loc[known.groupby(group, sort=False)["asr_mean"].idxmax()]


def _worst(group: pd.DataFrame, defenses: list[str]) -> list[list[str]]:
    """The row of the worst cases, if any attack knows of any of the defenses."""
    found = worst(group).drop_duplicates("defense").set_index("defense")
    if found.empty:
        return []
    of = {str(name): f" ({attack})" for name, attack in found["attack"].items()}
    cells = [_percent(found, name) + of.get(name, "") for name in defenses]
    return [["worst adaptive", "", *cells]]


def _percent(rows: pd.DataFrame, defense: str) -> str:
    if defense not in rows.index:
        return "–"
    row = rows.loc[defense]
    return f"{100 * row['c_acc_mean']:.1f} / {100 * row['asr_mean']:.1f}"


def _rows(plan: Plan, run: Run) -> list[dict[str, Any]]:
    measured = artifacts.read_json(layout.metrics(run))
    trained = artifacts.read_json(layout.victim(run) / "provenance.json")
    targets = {"targets": " ".join(map(str, measured["targets"]))}
    rows = [_row(run, UNDEFENDED, measured["victim"], trained) | targets]
    for name in plan.defenses[run]:
        record = artifacts.read_json(layout.cell(run, name) / "provenance.json")
        if plan.needs_features(name):  # They are shared: every detector counts their time as its.
            extracted = artifacts.read_json(layout.features(run).with_name("provenance.json"))
            record["seconds"] += extracted["seconds"]
        rows.append(_row(run, name, measured["cells"][name], record) | targets)
    return rows


def _setting(plan: Plan, run: Run, defense: str) -> dict[str, Any]:
    """How params.yaml has this row made, and whether its attack knows of its defense."""
    described = setting.describe(plan, run, defense)
    values = (setting.recipe(plan, run), setting.clean_set(plan, defense), described)
    adaptive = defense != UNDEFENDED and plan.is_adaptive(run, defense)
    return dict(zip(SETTING, values, strict=True)) | {"adaptive": adaptive}


def _row(
    run: Run, defense: str, measured: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
    verdict = record.get("verdict") or {}
    trigger = record.get("trigger") or {}
    row: dict[str, Any] = {
        "dataset": run.dataset,
        "model": run.model,
        "attack": run.attack,
        "poison_ratio": run.poison_ratio,
        "seed": run.seed,
        "defense": defense,
        "backdoored": verdict.get("backdoored"),
        "suspected_targets": " ".join(str(target) for target in verdict.get("targets", ())),
        "command": _regenerate(run, defense),
    }
    row |= {name: _number(verdict.get(name)) for name in ("suspect", "score")}
    row |= {name: _number(measured.get(name)) for name in RATES}
    for split, values in measured.get("detection", {}).items():
        row |= {f"{split}_{name}": _number(values.get(name)) for name in DETECTION}
    row |= {name: _number(trigger.get(name)) for name in ("psnr", "ssim")}
    # Outputs of older code, blessed since, do not say when they were made.
    row |= {name: record[name] for name in ("seconds", "memory_mb", "device", "torch")}
    row["date"] = record.get("date", "")
    return row | {name: record[name] for name in ("bdb", "git", "code")}


def _regenerate(run: Run, defense: str) -> str:
    """The command that makes this row anew."""
    folder = layout.victim(run) if defense == UNDEFENDED else layout.cell(run, defense)
    target = folder / "predictions.parquet"
    return shlex.join(("snakemake", "--cores", "all", "--force", "--", str(target)))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
