"""What Snakemake has on record in this folder, read without importing it."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_METADATA = Path(".snakemake/metadata")


def recorded_outputs() -> set[str]:
    """The outputs of which Snakemake knows with what parameters they were made."""
    return set(_names())


def _names() -> Iterator[str]:
    """Every record's file name is its output's name in Base64; long ones are cut into folders."""
    for place, _, files in os.walk(_METADATA):
        parts = Path(place).relative_to(_METADATA).parts
        start = "".join(part.removeprefix("@") for part in parts)
        for name in files:
            with suppress(ValueError):
                yield urlsafe_b64decode(start + name).decode()
