"""Tables in Markdown files: what stands between two markers is what a run has printed."""

from __future__ import annotations

from pathlib import Path

from bdb import artifacts
from bdb.errors import ArtifactError


def insert(path: Path, table: str, name: str) -> None:
    """Put a table between the markers `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ArtifactError: the file has no such markers.
    """
    text = path.read_text(encoding="utf-8")
    opening, closing = markers(name)
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        raise ArtifactError(f"{path}: no {opening} ... {closing} to put the table between")
    artifacts.write_text(path, f"{before}{begin}\n{table}{end}{after}")


def markers(name: str) -> tuple[str, str]:
    """What stands before and after a table."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"
