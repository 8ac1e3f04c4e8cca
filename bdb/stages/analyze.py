"""analyze: one picture of a run, of one of its cells or of its clean model, and its table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from bdb import artifacts, layout
from bdb.analyses.base import Analysis, AnalysisView, Cost, Delivered
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.report.style import save_svg
from bdb.stages.inputs import RunInputs
from bdb.training import seeds


def run(jobs: Jobs, run: Run, tool: str, of: str | None = None) -> None:
    """Draw one picture."""
    analysis = cast(Analysis, jobs.settings.make("analysis", tool))
    picture = analysis.run(_view(analysis, jobs, run, of))
    artifacts.write_table(layout.analysis(run, tool, "parquet", of), picture.table)
    save_svg(picture.figure, layout.analysis(run, tool, "svg", of))


def _view(analysis: Analysis, jobs: Jobs, run: Run, of: str | None) -> AnalysisView:
    inputs = RunInputs(jobs, run)
    paths = jobs.models_seen(run, jobs.catalogue.get("analysis", analysis.name), of)
    given: dict[str, Callable[[], Any]] = {
        "train_set": lambda: Delivered(inputs.given_train_set, inputs.is_poison),
        "test": lambda: inputs.test,
        "triggered": lambda: inputs.triggered,
        "cost": lambda: _cost(jobs, run, str(of)),
    }
    given |= {need: partial(models.load, path, inputs.device) for need, path in paths.items()}
    return AnalysisView(
        run=run,
        data=inputs.data,
        needs=analysis.needs,
        given={need: given[need]() for need in analysis.needs},
        seed=seeds.derive(run.seed, "analyze", analysis.name),  # The same images for every `of`.
        device=inputs.device,
        of=of,
    )


def _cost(jobs: Jobs, run: Run, defense: str) -> Cost:
    """What the stages wrote down."""
    trained = artifacts.read_json(layout.victim(run) / "provenance.json")["seconds"]
    records = [artifacts.read_json(path) for path in jobs.recorded(run, defense)]
    return Cost(trained, sum(record["seconds"] for record in records))
