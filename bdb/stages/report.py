"""report: the board, its summary, plots, and a page that needs no network."""

from __future__ import annotations

from bdb import __version__, artifacts, layout
from bdb.console import say
from bdb.jobs.jobs import Jobs
from bdb.jobs.threat import threat
from bdb.report import board as boards
from bdb.report import gallery, page, plots, significance, style, tables


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
    judged = significance.judge(board)
    artifacts.write_text(folder / "statistics.csv", tables.csv(judged.pairs))
    artifacts.write_json(folder / "statistics.json", judged.overall)
    plots.write(board, summary, folder / "plots")
    style.save_svg(significance.draw(judged.overall), folder / "plots" / "ranks.svg")
    shown, facts = gallery.make(plan), _facts(jobs)
    page.write(
        folder / "report" / "index.html", board, summary, shown, facts, _methods(jobs), judged
    )
    say(f"board:  {folder / 'board.csv'}\nreport: {folder / 'report' / 'index.html'}")


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
