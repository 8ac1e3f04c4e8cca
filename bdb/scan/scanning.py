"""A scan from its request to its answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bdb.scan import files, ladder, references, suspects
from bdb.scan.answer import Answer
from bdb.scan.suspects import Told


@dataclass(frozen=True)
class Asked:
    """What the user wants to know.

    Attributes:
        path: of the model.
        told: what the user says of it.
        budget: for all detectors, as `60s`; empty is without a limit.
        seed: of whatever detectors draw.
        population: clean models to compare with; None is what bdb brings.
    """

    path: Path
    told: Told
    budget: str = ""
    seed: int = 0
    population: Path | None = None


def scan(asked: Asked) -> Answer:
    """Read a model, and ask the detectors about it.

    Raises:
        BdbError: something cannot be read, or is refused.
    """
    seconds = suspects.seconds(asked.budget)
    found = files.read(asked.path)
    model = suspects.load(found, asked.told)
    alike = references.find(asked.population, model.spec, suspects.recipe(found))
    findings = list(ladder.climb(model, seconds, asked.seed, alike.fields))
    return Answer(asked.path, model, findings, alike)
