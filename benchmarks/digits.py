"""docs/digits.md, from a run of preset `digits`: every attack, every defense, what stops what."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import cast

import common
import pandas as pd
import yaml

from bdb import artifacts, presets, registry
from bdb.defenses.base import Defense
from bdb.layout import is_control
from bdb.report import readme, tables
from bdb.report.compare import UNDEFENDED

STOPPED = 0.2  # ASR below
KEPT = 0.1  # C-Acc lost at most
MANY = 10  # attacks, or defenses: as many make a row or column of its own
MARKER = "digits"


def text(summary: pd.DataFrame) -> str:
    """The tables, and the strengths that they are of, as Markdown."""
    # What judges the model alone gives no image another answer.
    cells = summary[summary["defense"].map(stage) != "model-level"].assign(
        stopped=(summary["asr_mean"] < STOPPED) & (summary["c_acc_loss_mean"] <= KEPT),
    )
    seeds = int(cells["seeds"].max())
    few = frequent(cells, "defense", "attack")
    parts = [
        f"C-Acc / ASR in %, means of {seeds} seed{'s' if seeds > 1 else ''}; **bold** where the "
        f"attack is stopped: ASR below {100 * STOPPED:.0f} %, no more than {100 * KEPT:.0f} points "
        "of C-Acc lost.\n",
        "### Every attack under the defenses of every stage\n",
        by_attack(cells, few),
        "### Every defense under some attacks\n",
        by_defense(cells, frequent(cells, "attack", "defense")),
        "### What stops what\n",
        stops(cells, few),
        strengths(),
    ]
    return "\n".join(parts)


def stage(name: str) -> str:
    """When a defense acts, as people write it; empty of no defense."""
    if name == UNDEFENDED:
        return ""
    return cast(type[Defense], registry.get("defense", name)).stage.replace("_", "-")


def titled(name: str) -> str:
    """A defense as people call it."""
    return "no defense" if name == UNDEFENDED else name


def frequent(cells: pd.DataFrame, what: str, of: str) -> list[str]:
    """The defenses tried on many attacks, or the attacks that many defenses were tried on."""
    counts = cells.groupby(what, sort=False)[of].nunique()
    found = [str(name) for name in counts.index[counts > MANY]]
    return sorted(found, key=lambda name: not is_control(name))  # The control is compared with.


def by_attack(cells: pd.DataFrame, defenses: list[str]) -> str:
    """A row per attack, in the order of the catalogue, the control first."""
    rows = []
    for (attack, ratio), group in cells.groupby(["attack", "poison_ratio"], sort=True):
        shown = [shown_as(group[group["defense"] == name]) for name in defenses]
        rows.append([f"{attack}{failed(group)}", tables.ratio(float(str(ratio))), *shown])
    rows.sort(key=lambda row: not is_control(row[0]))
    return tables.markdown(["attack", "ratio", *map(titled, defenses)], rows)


def failed(rows: pd.DataFrame) -> str:
    """How often the attack did not work: then it is in no mean, unless there is nothing else."""
    if rows["failed_attack"].all():
        return " (failed)"
    seeds = int(rows["failed_seeds"].max())
    return f" (failed on {seeds} of {seeds + int(rows['seeds'].max())} seeds)" if seeds else ""


def by_defense(cells: pd.DataFrame, attacks: list[str]) -> str:
    """A row per defense, by stage."""
    rows = []
    for name in sorted(cells["defense"].unique(), key=lambda name: (stage(name), name)):
        group = cells[cells["defense"] == name]
        shown = [shown_as(group[group["attack"] == attack]) for attack in attacks]
        rows.append([titled(name), stage(name), *shown])
    return tables.markdown(["defense", "stage", *attacks], rows)


def stops(cells: pd.DataFrame, defenses: list[str]) -> str:
    """For each defense that was tried on many attacks, those it stops and those it does not."""
    tried = cells[~cells["attack"].map(is_control).astype(bool) & ~cells["failed_attack"]]
    rows = []
    for name in filter(stage, defenses):
        group = tried[tried["defense"] == name].sort_values("attack")
        done = [" ".join(group.loc[group["stopped"] == is_so, "attack"]) for is_so in (True, False)]
        always = group["stopped"] & (group["asr_max"] < STOPPED)
        counts = [f"{int(which.sum())} of {len(group)}" for which in (group["stopped"], always)]
        rows.append([name, *counts, *done])
    head = ["defense", "attacks stopped", "with every seed", "stopped on average", "not"]
    return tables.markdown(head, rows)


def shown_as(rows: pd.DataFrame) -> str:
    """C-Acc / ASR of the one row, or nothing."""
    if rows.empty:
        return ""
    (row,) = rows.to_dict("records")
    figures = f"{100 * row['c_acc_mean']:.1f} / {100 * row['asr_mean']:.1f}"
    attacked = not is_control(row["attack"]) and not row["failed_attack"]
    return f"**{figures}**" if row["stopped"] and attacked else figures


def strengths() -> str:
    """What the preset sets, folded."""
    preset = yaml.safe_load(presets.text("digits"))
    chosen = {section: preset[section] for section in ("attacks", "defenses")}
    lines = yaml.safe_dump(chosen, sort_keys=False, default_flow_style=None, width=110)
    return (
        "### With which strengths\n\nWhat the preset sets beside the published defaults:\n\n"
        f"<details><summary>strengths</summary>\n\n```yaml\n{lines}```\n\n</details>\n"
    )


def options() -> ArgumentParser:
    """The command line."""
    made = common.command_line(__doc__)
    made.add_argument("--run", type=Path, help="folder of a run, whose summary is kept first")
    common.add_docs(made)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Keep a run's summary, if one is named, and fill the page."""
    args = options().parse_args(arguments)
    kept = args.docs / "digits.csv"
    if args.run:
        summary = (args.run / "results" / "summary.csv").read_text(encoding="utf-8")
        artifacts.write_text(kept, summary)
    readme.insert(args.docs / "digits.md", text(pd.read_csv(kept)), MARKER)


if __name__ == "__main__":
    main()
