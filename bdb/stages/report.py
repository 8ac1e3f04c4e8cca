"""report: the board, its summary, plots, and a page that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdb import __version__, artifacts, layout
from bdb.console import say
from bdb.jobs.jobs import Jobs
from bdb.jobs.plan import Plan
from bdb.jobs.threat import threat
from bdb.report import board as boards
from bdb.report import (
    gallery,
    page,
    plots,
    population,
    significance,
    stability,
    style,
    tables,
)

if TYPE_CHECKING:
    import pandas as pd


def run(jobs: Jobs) -> None:
    """Write everything that a person reads."""
    plan = jobs.plan
    board = boards.make(plan)
    summary = boards.summarise(board)
    folder = layout.RESULTS
    artifacts.write_table(folder / "board.parquet", board)
    artifacts.write_text(folder / "board.csv", tables.csv(boards.without_costs(board)))
    artifacts.write_text(folder / "costs.csv", tables.csv(boards.costs(board)))
    artifacts.write_text(folder / "summary.csv", tables.csv(boards.without_costs(summary)))
    artifacts.write_text(folder / "summary.md", boards.markdown(summary))
    artifacts.write_json(folder / "metrics.json", boards.metrics(summary))
    swept = stability.table(board, plan.settings.variations)
    judged = significance.judge(_unvaried(board, plan))
    artifacts.write_text(folder / "statistics.csv", tables.csv(judged.pairs))
    artifacts.write_json(folder / "statistics.json", judged.overall)
    artifacts.write_text(folder / "stability.csv", tables.csv(swept))
    plots.write(board, summary, folder / "plots")
    style.save_svg(significance.draw(judged.overall), folder / "plots" / "ranks.svg")
    style.save_svg(stability.draw(swept), folder / "plots" / "stability.svg")
    people = population.models(board)
    artifacts.write_text(folder / "population.csv", tables.csv(people))
    artifacts.write_text(folder / "population.md", population.markdown(people))
    style.save_svg(population.draw(people), folder / "plots" / "roc.svg")
    shown, facts = gallery.make(plan), _facts(jobs)
    page.write(
        folder / "report" / "index.html",
        board,
        summary,
        shown,
        facts,
        _methods(jobs),
        judged,
        swept,
        people,
    )
    say(f"board:  {folder / 'board.csv'}\nreport: {folder / 'report' / 'index.html'}")


def _unvaried(board: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The rows of what people chose; a sweep's variations are no rivals of theirs."""
    varied = {each.name for each in plan.settings.variations}
    return board[~board["attack"].isin(varied) & ~board["defense"].isin(varied)]


def _methods(jobs: Jobs) -> dict[str, str]:
    """What every attack and defense of the plan is, and whom an attack stands for."""
    plan = jobs.plan
    names = {"attack": {run.attack for run in plan.runs}, "defense": {d for _, d in plan.cells}}
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
        "clean set": plan.settings.clean_set.source,
    }
