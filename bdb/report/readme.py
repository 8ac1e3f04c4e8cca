"""The demo's table in README: what stands between two markers is what a run has printed."""

from __future__ import annotations

from pathlib import Path

from bdb import artifacts
from bdb.errors import ArtifactError

BEGIN, END = "<!-- demo -->", "<!-- /demo -->"


def insert(path: Path, table: str) -> None:
    """Put a table between the markers.

    Raises:
        ArtifactError: the file has no markers.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ArtifactError(f"{path}: no {BEGIN} ... {END} to put the table between")
    artifacts.write_text(path, f"{before}{BEGIN}\n{table}{END}{after}")
