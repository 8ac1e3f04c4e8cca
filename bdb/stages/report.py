"""report: the board, its summary, plots, and a page that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bdb import __version__, artifacts, layout
from bdb.console import say
from bdb.jobs.jobs import Jobs
from bdb.jobs.plan import Plan
from bdb.jobs.threat import threat
from bdb.report import board as boards
from bdb.report import findings, gallery, page, plots, population, tables
from bdb.report.findings import Findings

if TYPE_CHECKING:
    import pandas as pd


def run(jobs: Jobs) -> None:
    """Write everything that a person reads."""
    plan, folder = jobs.plan, layout.RESULTS
    found = findings.of(boards.make(plan), plan.settings.variations, plan.given)
    _write_tables(found, folder)
    artifacts.write_text(folder / "training.csv", tables.csv(_training(plan)))
    drawn = plots.write(found, folder / "plots")
    pictures = {path.stem: gallery.embed(path) for path in drawn}
    index = folder / "report" / "index.html"
    page.write(index, found, pictures, gallery.make(plan), _facts(jobs), _methods(jobs))
    say(f"board:  {folder / 'board.csv'}\nreport: {index}")


def _write_tables(found: Findings, folder: Path) -> None:
    """Whatever changes from run to run stands in `costs.csv` and in the Parquet file alone."""
    artifacts.write_table(folder / "board.parquet", found.board)
    for name, table in {
        "board": boards.without_costs(found.board),
        "costs": boards.costs(found.board),
        "summary": boards.without_costs(found.summary),
        "statistics": found.judged.pairs,
        "stability": found.swept,
        "clean_sets": found.given,
        "population": found.models,
    }.items():
        artifacts.write_text(folder / f"{name}.csv", tables.csv(table))
    artifacts.write_json(folder / "metrics.json", boards.metrics(found.summary))
    artifacts.write_json(folder / "statistics.json", found.judged.overall)
    artifacts.write_text(folder / "summary.md", boards.markdown(found.summary))
    artifacts.write_text(folder / "population.md", population.markdown(found.models))


def _training(plan: Plan) -> pd.DataFrame:
    """How every victim was trained, a row per epoch."""
    import pandas as pd

    histories = [
        artifacts.read_table(layout.victim(run) / "history.parquet").assign(run=str(run))
        for run in plan.runs
    ]
    return pd.concat(histories)[["run", "epoch", "loss", "lr"]]


def _methods(jobs: Jobs) -> dict[str, str]:
    """What every attack and defense of the plan is, and whom an attack stands for."""
    plan = jobs.plan
    defenses = {layout.defense_of(name) for _, name in plan.cells}
    names = {"attack": {run.attack for run in plan.runs}, "defense": defenses}
    entries = (jobs.catalogue.get(kind, name) for kind in names for name in sorted(names[kind]))
    return {entry.name: f"{entry.summary} {threat(entry)}".strip() for entry in entries}


def _facts(jobs: Jobs) -> dict[str, str]:
    plan = jobs.plan
    return {
        "bdb": __version__,
        "runs": str(len(plan.runs)),
        "cells": str(len(plan.cells)),
        "left out": str(len(plan.left_out)),
        "recipe": plan.settings.training.recipe,
        "clean set": ", ".join(dict.fromkeys(each.source for each in plan.settings.clean_sets)),
    }
