"""One command of the workflow, and all that decides what comes of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One command of the workflow.

    Attributes:
        params: the part of params.yaml that it reads, by dotted key, as it stands there.
        code: the identity of the code that it runs.
        raw: a stamp of the raw files that it reads, where those are the user's own.
    """

    stage: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    params: dict[str, Any]
    code: str
    raw: str = ""

    @property
    def name(self) -> str:
        """Stage and arguments: what tells the job from others of its plan."""
        return " ".join((self.stage, *self.arguments))

    @property
    def command(self) -> str:
        """What a shell runs."""
        words = ["python", "-m", "bdb", self.stage, *self.arguments, "--code", self.code]
        return shlex.join(words + (["--raw", self.raw] if self.raw else []))
