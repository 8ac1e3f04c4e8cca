"""A population of the user's own: clean models of the suspect's architecture, and their scores."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from bdb import artifacts
from bdb.console import say
from bdb.datasets.base import ImageSet
from bdb.defenses.base import Given
from bdb.layout import CLEAN_ATTACK
from bdb.models.base import Classifier, ModelSpec
from bdb.report import population, tables
from bdb.scan import architectures, comparable
from bdb.scan.finding import Finding
from bdb.scan.ladder import Ladder
from bdb.training import device as devices
from bdb.training import inference, loop, seeds
from bdb.training.recipes import RECIPES

# A small set has as many steps per epoch as it can, or a schedule of few epochs teaches nothing.
_STEPS = 20


def calibrate(
    path: Path, suspect: Classifier, data: ImageSet, clean: ImageSet | None, recipe: str, count: int
) -> None:
    """Train clean models, let every detector judge each, and write what they say.

    Models that the file holds are not made again, so that it can be stopped, and go on.

    Args:
        path: of the population, as `--population` reads it.
        suspect: whose architecture and statistics the models have.
        data: what they are trained on, under true labels.
        clean: images that some detectors need.
        recipe: of their training.
        count: how many models there shall be.

    Raises:
        BdbError: the file is no population, or cannot be written.
    """
    table = population.read(path) if path.exists() else pd.DataFrame(columns=population.COLUMNS)
    like = _kind(suspect.spec, recipe)
    done = set(table.loc[(table[list(like)] == pd.Series(like)).all(axis=1), "seed"])
    for seed in range(count):
        if seed in done:
            continue
        model = train(suspect, data, recipe, seed)
        known = inference.accuracy(model, data.images, data.labels)
        say(f"clean model {seed + 1} of {count} knows {known:.0%} of its training images")
        ladder = Ladder(Given(model=model, clean_set=clean), math.inf, seed)
        rows = [_row(model, recipe, seed, each) for each in ladder.climb() if each.verdict]
        made = pd.DataFrame(rows, columns=population.COLUMNS)
        table = pd.concat([table, made], ignore_index=True) if len(table) else made
        artifacts.write_text(path, tables.csv(table))


def train(suspect: Classifier, data: ImageSet, recipe: str, seed: int) -> Classifier:
    """A clean model like the suspect, in evaluation mode on the CPU."""
    schedule = RECIPES[recipe]
    size = max(8, min(schedule.batch_size, len(data) // _STEPS))
    scaled = {"batch_size": size, "lr": schedule.lr * size / schedule.batch_size}
    model = architectures.fresh(suspect, seeds.derive(seed, "calibrate", "weights"))
    model = model.to(devices.pick())
    loop.fit(
        model,
        data,
        schedule.model_copy(update=scaled),
        seed=seeds.derive(seed, "calibrate", "fit"),
        augmentation=suspect.spec.data.augmentation,
        what=f"clean model {seed + 1}",
    )
    return model.cpu().eval()


def _row(model: Classifier, recipe: str, seed: int, finding: Finding) -> dict[str, object]:
    """What a population has of a clean model and a detector."""
    verdict = finding.verdict or {}
    known: dict[str, object] = {
        **_kind(model.spec, recipe),
        "clean_set": "own",
        "detector": finding.detector,
        "attack": CLEAN_ATTACK,
        "poison_ratio": 0.0,
        "seed": seed,
        "label": "clean",
        "asr": 0.0,
        "score": round(float(verdict["score"]), 6),
        "flagged": finding.is_suspicious,
        "suspect": verdict.get("suspect"),
        "calibration": population.UNCALIBRATED,
        "seconds": round(finding.seconds, 3),
    }
    return dict.fromkeys(population.COLUMNS) | known


def _kind(spec: ModelSpec, recipe: str) -> dict[str, str]:
    """What all models have in common that are like the suspect."""
    return {
        "dataset": comparable.data_name(spec),
        "model": spec.architecture,
        "recipe": recipe,
        "setting": " ".join(comparable.setting(spec)),
    }
