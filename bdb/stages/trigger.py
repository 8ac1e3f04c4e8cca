"""trigger: make what `stamp` needs once, for the runs of all poison ratios."""

from __future__ import annotations

from bdb import layout
from bdb.attacks import poisoning
from bdb.console import say
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.provenance import Provenance
from bdb.stages.inputs import RunInputs


def run(jobs: Jobs, run: Run) -> None:
    """Make the trigger of an attack that shares it; the run has ratio 0."""
    inputs = RunInputs(jobs, run)
    provenance = Provenance(jobs.trigger(run), inputs.device, run)
    state = inputs.attack.prepare_trigger(inputs.context())
    path = layout.trigger(run)
    poisoning.save_trigger(path, state, origin=provenance.origin())
    provenance.write(path.parent, fields=inputs.attack.model_dump(mode="json"))
    parts = dict.fromkeys(name.partition(".")[0] for name in state)  # Networks have many weights.
    say(f"{run}: a trigger of {', '.join(parts) or 'nothing'}")
