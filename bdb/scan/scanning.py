"""A scan from its request to its answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from bdb.datasets.base import ImageSet
from bdb.defenses.base import Given, Split
from bdb.defenses.features import VictimFeatures, extract
from bdb.errors import SuspectError
from bdb.models.base import Classifier
from bdb.scan import budget as budgets
from bdb.scan import calibrate as calibrating
from bdb.scan import comparable, files, images, samples, suspects, triggers
from bdb.scan.answer import Answer
from bdb.scan.ladder import Ladder
from bdb.scan.suspects import Told
from bdb.training import inference
from bdb.training.recipes import RECIPES


@dataclass(frozen=True)
class Brought:
    """What the user brings beside the model, as paths.

    Attributes:
        population: clean models to compare with; None is what bdb has.
        images: clean ones, under their classes.
        clean_model: another model of these data, which nobody suspects.
        inputs: images that are to be judged.
        train: a training set, under the labels given, that is to be judged.
        calibrate: data of the suspect's, whose labels are true, to train clean models on.
        clean_models: how many.
    """

    population: Path | None = None
    images: Path | None = None
    clean_model: Path | None = None
    inputs: Path | None = None
    train: Path | None = None
    calibrate: Path | None = None
    clean_models: int = 0


def scan(path: Path, told: Told, brought: Brought, budget: str, seed: int) -> Answer:
    """Read a model, and ask the detectors about it and about the images.

    Args:
        path: of the model.
        told: what the user says of it.
        brought: what there is beside it.
        budget: for all detectors, as `60s`; empty is without a limit.
        seed: of whatever detectors draw.

    Raises:
        BdbError: something cannot be read, or is refused.
    """
    seconds = budgets.seconds(budget)
    found = files.read(path)
    model = suspects.load(found, told)
    recipe = suspects.recipe(found)
    other = _other(brought, told, model)
    names, given = _given(brought, model)
    if brought.calibrate:
        _calibrate(brought, model, given.clean_set, recipe)
    alike = comparable.find(brought.population, model.spec, recipe)
    ladder = Ladder(given, time.monotonic() + seconds, seed, alike.fields)
    sifted = [each for split in names for each in samples.sift(ladder, split, names[split])]
    findings = list(ladder.climb())
    clean = given.clean_set
    accuracy = inference.accuracy(model, clean.images, clean.labels) if clean else None
    reversed_ = list(triggers.test(findings, model, clean, other)) if clean else []
    return Answer(path, model, findings, alike, accuracy, reversed_, sifted)


def _given(brought: Brought, model: Classifier) -> tuple[dict[Split, list[str]], Given]:
    """What there is to see: the images, and the names of those that are to be judged."""
    names: dict[Split, list[str]] = {}
    data = model.spec.data
    clean = images.labelled(brought.images, data).images if brought.images else None
    inputs = train = features = None
    if brought.inputs:
        if clean is None:
            raise SuspectError("--inputs: what is usual of inputs, clean --images have to say")
        names["inputs"], inputs = images.unlabelled(brought.inputs, data)
    if brought.train:
        delivered = images.labelled(brought.train, data)
        names["train"], train = delivered.names, delivered.images
    if train is not None and model.has_features:
        known = clean if clean is not None else train[torch.arange(0)]
        features = VictimFeatures(*(extract(model, each.images) for each in (train, known)))
    return names, Given(model, train, clean, inputs, features)


def _calibrate(brought: Brought, model: Classifier, clean: ImageSet | None, recipe: str) -> None:
    """Train clean models, into the population that the suspect is then compared with."""
    if brought.calibrate is None or brought.population is None:
        raise SuspectError("--calibrate: say with --population where the clean models are kept")
    data = images.labelled(brought.calibrate, model.spec.data).images
    recipe = recipe if recipe in RECIPES else "fast"
    calibrating.calibrate(brought.population, model, data, clean, recipe, brought.clean_models)


def _other(brought: Brought, told: Told, model: Classifier) -> Classifier | None:
    """The clean model, which has to take the same images and know as many classes."""
    if brought.clean_model is None:
        return None
    if brought.images is None:
        raise SuspectError("--clean-model says where triggers come from, and these need --images")
    other = suspects.load(files.read(brought.clean_model), told)
    ours, theirs = model.spec.data, other.spec.data
    if (ours.shape, ours.num_classes) != (theirs.shape, theirs.num_classes):
        raise SuspectError(f"{brought.clean_model}: other images than the suspect's, or classes")
    return other
