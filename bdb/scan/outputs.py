"""An answer as it is printed, and the files that it is written to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bdb import artifacts
from bdb.report import tables
from bdb.scan import page, plain, plain_json, samples, sarif, triggers
from bdb.scan.answer import Answer


@dataclass(frozen=True)
class Paths:
    """Where to write what; None is nowhere.

    Attributes:
        html: a page.
        sarif: a SARIF log.
        pictures: a folder for the triggers that were found.
        scores: a CSV with the scores of single images.
    """

    html: Path | None = None
    sarif: Path | None = None
    pictures: Path | None = None
    scores: Path | None = None


def text(answer: Answer, as_json: bool) -> str:
    """The answer for who reads it, or for programs."""
    return json.dumps(plain_json.document(answer), indent=1) if as_json else plain.text(answer)


def write(answer: Answer, to: Paths) -> None:
    """Write the answer in the forms that are wanted.

    Raises:
        ArtifactError: a path cannot be written to.
    """
    if to.html:
        artifacts.write_text(to.html, page.html(answer))
    if to.sarif:
        artifacts.write_text(to.sarif, json.dumps(sarif.document(answer), indent=1) + "\n")
    if to.pictures:
        triggers.save(answer.triggers, to.pictures)
    if to.scores:
        artifacts.write_text(to.scores, tables.csv(samples.table(answer.sifted)))
