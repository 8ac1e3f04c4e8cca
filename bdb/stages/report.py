"""report: the board, its summary, plots, and a page that needs no network."""

from __future__ import annotations

from bdb import __version__, artifacts, layout
from bdb.console import say
from bdb.jobs.jobs import Jobs
from bdb.report import board as boards
from bdb.report import page, plots, tables


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
    plots.write(board, summary, folder / "plots")
    pictures = {f"{run}/{tool}": layout.analysis(run, tool, "svg") for run, tool in plan.analyses}
    page.write(folder / "report" / "index.html", board, summary, pictures, _facts(jobs))
    say(f"board:  {folder / 'board.csv'}\nreport: {folder / 'report' / 'index.html'}")


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
