"""A scan from its request to its answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bdb.defenses.base import Given
from bdb.errors import SuspectError
from bdb.models.base import Classifier
from bdb.scan import files, images, references, suspects, triggers
from bdb.scan.answer import Answer
from bdb.scan.ladder import Ladder
from bdb.scan.suspects import Told
from bdb.training import inference


@dataclass(frozen=True)
class Asked:
    """What the user wants to know.

    Attributes:
        path: of the model.
        told: what the user says of it.
        budget: for all detectors, as `60s`; empty is without a limit.
        seed: of whatever detectors draw.
        population: clean models to compare with; None is what bdb brings.
        images: clean ones, under their classes.
        clean_model: another model of these data, which nobody suspects.
    """

    path: Path
    told: Told
    budget: str = ""
    seed: int = 0
    population: Path | None = None
    images: Path | None = None
    clean_model: Path | None = None


def scan(asked: Asked) -> Answer:
    """Read a model, and ask the detectors about it.

    Raises:
        BdbError: something cannot be read, or is refused.
    """
    seconds = suspects.seconds(asked.budget)
    found = files.read(asked.path)
    model = suspects.load(found, asked.told)
    alike = references.find(asked.population, model.spec, suspects.recipe(found))
    clean = images.labelled(asked.images, model.spec.data).images if asked.images else None
    other = _other(asked, model)
    end = time.monotonic() + (float("inf") if seconds is None else seconds)
    ladder = Ladder(Given(model=model, clean_set=clean), end, asked.seed, alike.fields)
    findings = list(ladder.climb())
    accuracy = inference.accuracy(model, clean.images, clean.labels) if clean else None
    reversed_ = list(triggers.test(findings, model, clean, other)) if clean else []
    return Answer(asked.path, model, findings, alike, accuracy, reversed_)


def _other(asked: Asked, model: Classifier) -> Classifier | None:
    """The clean model, which has to take the same images and know as many classes."""
    if asked.clean_model is None:
        return None
    if asked.images is None:
        raise SuspectError("--clean-model says where triggers come from, and these need --images")
    other = suspects.load(files.read(asked.clean_model), asked.told)
    ours, theirs = model.spec.data, other.spec.data
    if (ours.shape, ours.num_classes) != (theirs.shape, theirs.num_classes):
        raise SuspectError(f"{asked.clean_model}: takes other images than the suspect, or classes")
    return other
