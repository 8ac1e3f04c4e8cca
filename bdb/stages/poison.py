"""poison: choose the samples, and stamp them; a training-controlled attack only plans here."""

from __future__ import annotations

from bdb import layout
from bdb.attacks import poisoning, victims
from bdb.console import say
from bdb.errors import ParamsError
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.provenance import Provenance
from bdb.stages.inputs import RunInputs


def run(jobs: Jobs, run: Run) -> None:
    """Write the poisoned set of a run, or its plan.

    Raises:
        ParamsError: the attack cannot poison that much of this data set, or poisons nothing.
    """
    inputs = RunInputs(jobs, run)
    if not inputs.attack.poisons:
        raise ParamsError(f"{run}: {run.attack} poisons nothing; train it at once")
    provenance = Provenance(jobs.poison(run), inputs.device, run)
    path = layout.poisoned(run)
    if inputs.attack.controls_training:
        context = victims.planned(inputs.attack, run.poison_ratio, inputs.context())
        assert context.plan is not None
        poisoning.save_plan(path, context.plan, origin=provenance.origin())
        plan = context.plan
    else:
        context = inputs.context()
        poison = victims.make_poison(inputs.attack, run.poison_ratio, context, inputs.test)
        poisoning.save(path, poison, origin=provenance.origin())
        plan = poison.plan
    provenance.write(path.parent, fields=inputs.attack.model_dump(mode="json"))
    say(f"{run}: {int(plan.is_poison.sum())} poisons, {int(plan.is_cross.sum())} covers")
