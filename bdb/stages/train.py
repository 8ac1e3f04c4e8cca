"""train: fit the victim, and write what it predicts."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import pandas as pd

from bdb import artifacts, layout
from bdb.attacks import poisoning, victims
from bdb.attacks.base import Plan
from bdb.attacks.poisoning import Triggered
from bdb.attacks.victims import Victim
from bdb.console import say
from bdb.datasets.base import ImageSet
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.metrics import classification, quality
from bdb.models import base as models
from bdb.provenance import Provenance
from bdb.stages import predictions
from bdb.stages.inputs import RunInputs
from bdb.training.loop import EpochRecord


def run(jobs: Jobs, run: Run) -> None:
    """Train a victim; one whose attacker controls the training completes its poison here."""
    inputs = RunInputs(jobs, run)
    provenance = Provenance(jobs.train(run), inputs.device, run)
    folder = layout.victim(run)
    trainer = inputs.trained_as or inputs.attack
    victim = _train(inputs)
    origin = provenance.origin()
    models.save(folder / "model.safetensors", victim.model, origin=origin)
    if inputs.attack.controls_training:
        poisoning.save(folder / "poison.safetensors", victim.poison, origin=origin)
    crossed = poisoning.crossed_test(inputs.attack, victim.poison.state, inputs.test, inputs.device)
    table = predictions.make(victim.model, inputs.test, victim.poison.test, crossed)
    artifacts.write_table(folder / "predictions.parquet", table)
    columns = [field.name for field in fields(EpochRecord)]
    history = pd.DataFrame([asdict(record) for record in victim.history], columns=columns)
    artifacts.write_table(folder / "history.parquet", history.drop(columns="seconds"))
    of_grid = {
        "recipe": trainer.recipe(inputs.recipe).model_dump(),
        "augmentation": trainer.augmentation(inputs.data.augmentation).model_dump(),
    }
    provenance.write(
        folder,
        fields=inputs.attack.model_dump(mode="json"),
        epoch_seconds=[round(record.seconds, 3) for record in victim.history],
        trigger=_quality(victim.poison.test, inputs.test),
        **(of_grid | victim.facts),
    )
    rates = classification.rates(table)
    say(f"{run}: C-Acc {rates['c_acc']:.4f}, ASR {rates['asr']:.4f}, RA {rates['ra']:.4f}")


def _train(inputs: RunInputs) -> Victim:
    context = inputs.context()
    if inputs.run.is_clean:
        poison = poisoning.complete(
            inputs.attack, replace(context, plan=_nothing(context.train)), {}, inputs.test
        )
        control = (inputs.attack, context, inputs.spec, inputs.test, poison)
        return victims.train(*control, trained_as=inputs.trained_as)
    if inputs.attack.controls_training:
        plan = poisoning.load_plan(layout.poisoned(inputs.run))
        context = replace(context, plan=plan)
        return victims.train(inputs.attack, context, inputs.spec, inputs.test)
    context = replace(context, plan=inputs.poison.plan)
    return victims.train(inputs.attack, context, inputs.spec, inputs.test, inputs.poison)


def _nothing(train: ImageSet) -> Plan:
    """The plan of a run that poisons nothing."""
    none, no = train.ids[:0].cpu(), train.ids[:0].bool().cpu()
    return Plan(ids=none, labels=none, is_poison=no, is_cross=no)


def _quality(triggered: Triggered, test: ImageSet) -> dict[str, float | None]:
    """How visible the trigger is, over the triggered test images."""
    return quality.summary(test.images[triggered.ids], triggered.images)
