"""The files that an answer is written to, beside what is printed."""

from __future__ import annotations

import json
from pathlib import Path

from bdb import artifacts
from bdb.scan import page, triggers
from bdb.scan import sarif as sarifs
from bdb.scan.answer import Answer


def write(answer: Answer, html: Path | None, sarif: Path | None, pictures: Path | None) -> None:
    """Write a page, a SARIF log, and the triggers that were found as pictures in a folder.

    Raises:
        ArtifactError: a path cannot be written to.
    """
    if html:
        artifacts.write_text(html, page.html(answer))
    if sarif:
        artifacts.write_text(sarif, json.dumps(sarifs.document(answer), indent=1) + "\n")
    if pictures:
        triggers.save(answer.triggers, pictures)
