"""surrogate: train a model that attackers need and that no run has for its victim."""

from __future__ import annotations

from bdb.attacks.surrogates import SurrogateJob
from bdb.console import say
from bdb.datasets import foreign
from bdb.datasets.base import DataSpec, ImageSet
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.provenance import Provenance
from bdb.stages.inputs import RunInputs, read_split
from bdb.training import adversarial, inference, loop, seeds
from bdb.training import device as devices


def run(jobs: Jobs, run: Run, name: str) -> None:
    """Train a surrogate, by the recipe of the victims, and say how good it is."""
    made = jobs.shared.surrogate(run, name)
    inputs = RunInputs(jobs, run)
    provenance = Provenance(jobs.surrogate(run, name), inputs.device, run)
    train, test, data = _data(inputs, made)
    spec = inputs.spec.model_copy(update={"data": data})
    model = models.build(spec, seeds.derive(run.seed, "surrogate", name, "weights"))
    devices.place(model, inputs.device)
    loop.fit(
        model,
        train,
        inputs.recipe_of(made.source),
        seed=seeds.derive(run.seed, "surrogate", name, "fit"),
        step=adversarial.step(made.eps, made.steps) if made.eps else loop.cross_entropy,
        augmentation=data.augmentation,
    )
    c_acc = inference.accuracy(model, test.images, test.labels)
    models.save(made.path, model, origin=provenance.origin())
    provenance.write(made.path.parent, surrogate=name, c_acc=c_acc)
    say(f"{run} {name}: C-Acc {c_acc:.4f}")


def _data(inputs: RunInputs, made: SurrogateJob) -> tuple[ImageSet, ImageSet, DataSpec]:
    """What it is trained and tested on; another data set in the shape of the run's."""
    if made.source == made.run.dataset:
        return inputs.train_set, inputs.test, inputs.data
    train, data = read_split(made.source, "train")
    test, _ = read_split(made.source, "test")
    shape = inputs.data.shape
    train, test = (foreign.reshape(images, shape) for images in (train, test))
    return train, test, foreign.describe(data, shape)
