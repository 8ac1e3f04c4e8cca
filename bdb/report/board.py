"""The board: one row per cell, and its summary over seeds."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pandas as pd

from bdb import artifacts, layout
from bdb.jobs.plan import Plan
from bdb.layout import Run
from bdb.report import compare, setting, tables
from bdb.report.compare import SETTING, UNDEFENDED

GROUP = compare.KEYS
KEYS = [*GROUP[:4], "seed", "defense"]
# What differs between two runs of the same params on the same machine.
COSTS = ["seconds", "memory_mb"]
DETECTION = ("tpr", "fpr", "f1", "auroc", "average_precision", "tpr_at_1_fpr", "tpr_at_5_fpr")
RATES = ("c_acc", "asr", "ra", "der", "rir")
COLUMNS = (
    *KEYS,
    *SETTING,
    *RATES,
    *compare.COLUMNS,
    *(f"{split}_{name}" for split in ("train", "inputs") for name in DETECTION),
    "backdoored",
    "suspected_targets",
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
SUMMARISED = ("c_acc", "asr", "ra", "der", "seconds")


def make(plan: Plan) -> pd.DataFrame:
    """Gather metrics and provenance; the row of defense `none` is the victim itself.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    rows = [
        row | _setting(plan, run, row["defense"]) for run in plan.runs for row in _rows(plan, run)
    ]
    board = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return board.assign(**compare.judge(board))


def summarise(board: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, with the half-width of the 95 % interval (Student's t); NaN for one seed.

    The means are compared with the published figures as the cells of the board are.
    """
    groups = board.groupby([*GROUP, *SETTING], sort=False)
    summary = groups.size().rename("seeds").to_frame()
    for name in SUMMARISED:
        values = groups[name]
        summary[f"{name}_mean"] = values.mean()
        summary[f"{name}_ci95"] = values.agg(half_width)
    summary = summary.reset_index()
    victims = summary[summary["defense"] == UNDEFENDED].set_index(GROUP[:4])["c_acc_mean"]
    keys = pd.MultiIndex.from_frame(summary[GROUP[:4]])
    before = victims.reindex(keys).to_numpy()
    means = summary.assign(**{name: summary[f"{name}_mean"] for name in compare.JUDGED})
    return summary.assign(c_acc_loss_mean=before - summary["c_acc_mean"], **compare.judge(means))


def costs(board: pd.DataFrame) -> pd.DataFrame:
    """What every cell took; the only table that a second run does not repeat byte by byte."""
    return board[[*KEYS, *COSTS]]


def without_costs(table: pd.DataFrame) -> pd.DataFrame:
    """The board or its summary, without what a second run does not repeat."""
    kept = [name for name in table.columns if not name.startswith(tuple(COSTS))]
    return table[kept]


def half_width(values: pd.Series) -> float:
    """Half of the 95 % interval of a mean."""
    from scipy import stats

    count = int(values.count())
    if count < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))


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
        lines.append([str(attack), f"{ratio:g}", *cells])
    return tables.markdown(header, lines)


def _percent(rows: pd.DataFrame, defense: str) -> str:
    if defense not in rows.index:
        return "–"
    row = rows.loc[defense]
    return f"{100 * row['c_acc_mean']:.1f} / {100 * row['asr_mean']:.1f}"


def _rows(plan: Plan, run: Run) -> list[dict[str, Any]]:
    measured = artifacts.read_json(layout.metrics(run))
    trained = artifacts.read_json(layout.victim(run) / "provenance.json")
    rows = [_row(run, UNDEFENDED, measured["victim"], trained)]
    for name in plan.defenses[run]:
        record = artifacts.read_json(layout.cell(run, name) / "provenance.json")
        if plan.needs_features(name):  # They are shared: every detector counts their time as its.
            extracted = artifacts.read_json(layout.features(run).with_name("provenance.json"))
            record["seconds"] += extracted["seconds"]
        rows.append(_row(run, name, measured["cells"][name], record))
    return rows


def _setting(plan: Plan, run: Run, defense: str) -> dict[str, str]:
    """How params.yaml has this row made."""
    settings = plan.settings
    described = setting.describe(plan, run, defense)
    values = (settings.training.recipe, settings.clean_set.source, described)
    return dict(zip(SETTING, values, strict=True))


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
    row |= {name: _number(measured.get(name)) for name in RATES}
    for split, values in measured.get("detection", {}).items():
        row |= {f"{split}_{name}": _number(values.get(name)) for name in DETECTION}
    row |= {name: _number(trigger.get(name)) for name in ("psnr", "ssim")}
    row |= {name: record[name] for name in (*COSTS, "device", "torch")}
    return row | {name: record[name] for name in ("bdb", "git", "code")}


def _regenerate(run: Run, defense: str) -> str:
    """The command that makes this row anew."""
    folder = layout.victim(run) if defense == UNDEFENDED else layout.cell(run, defense)
    target = folder / "predictions.parquet"
    return shlex.join(("snakemake", "--cores", "all", "--force", "--", str(target)))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
