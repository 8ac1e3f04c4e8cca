"""analyze: one picture of a run, and the table behind it."""

from __future__ import annotations

from typing import cast

from bdb import artifacts, layout, registry
from bdb.analyses.base import Analysis, AnalysisView
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.report.style import save_svg
from bdb.stages.inputs import RunInputs
from bdb.training import seeds


def run(jobs: Jobs, run: Run, tool: str) -> None:
    """Draw one picture."""
    inputs = RunInputs(jobs, run)
    fields = jobs.settings.fields("analysis", tool)
    analysis = cast(Analysis, registry.get("analysis", tool).make(**fields))
    view = AnalysisView(
        run=run,
        data=inputs.data,
        model=models.load(layout.model(run), inputs.device),
        test=inputs.test,
        triggered=inputs.triggered,
        seed=seeds.derive(run.seed, "analyze", tool),
        device=inputs.device,
    )
    picture = analysis.run(view)
    artifacts.write_table(layout.analysis(run, tool, "parquet"), picture.table)
    save_svg(picture.figure, layout.analysis(run, tool, "svg"))
