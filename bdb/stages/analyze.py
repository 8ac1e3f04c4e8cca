"""analyze: one picture of a run or of one of its cells, and the table behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from bdb import artifacts, layout
from bdb.analyses.base import Analysis, AnalysisView, Delivered
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.report.style import save_svg
from bdb.stages.inputs import RunInputs
from bdb.training import seeds


def run(jobs: Jobs, run: Run, tool: str, defense: str | None = None) -> None:
    """Draw one picture."""
    analysis = cast(Analysis, jobs.settings.make("analysis", tool))
    picture = analysis.run(_view(analysis, RunInputs(jobs, run), defense))
    artifacts.write_table(layout.analysis(run, tool, "parquet", defense), picture.table)
    save_svg(picture.figure, layout.analysis(run, tool, "svg", defense))


def _view(analysis: Analysis, inputs: RunInputs, defense: str | None) -> AnalysisView:
    run, device = inputs.run, inputs.device
    given: dict[str, Callable[[], Any]] = {
        "model": lambda: models.load(layout.model(run), device),
        "clean_model": lambda: models.load(layout.model(run.control), device),
        "defended": lambda: models.load(layout.defended(run, str(defense)), device),
        "train_set": lambda: Delivered(inputs.given_train_set, inputs.is_poison),
        "test": lambda: inputs.test,
        "triggered": lambda: inputs.triggered,
    }
    return AnalysisView(
        run=run,
        data=inputs.data,
        needs=analysis.needs,
        given={need: given[need]() for need in analysis.needs},
        seed=seeds.derive(run.seed, "analyze", analysis.name, *([defense] if defense else [])),
        device=device,
        defense=defense,
    )
