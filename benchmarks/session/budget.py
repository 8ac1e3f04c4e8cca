"""Steps within a hard budget of time: what probably does not fit is not started."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from bdb import errors
from bdb.console import say

T = TypeVar("T")


class Budget:
    """Some seconds, which pass.

    Attributes:
        took: seconds of every step that was started.
        skipped: why a step was not started.
        failed: what a step died of.
    """

    def __init__(
        self,
        seconds: float,
        note: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock; `note` keeps what became of each step."""
        self._clock = clock
        self._note = note
        self._end = clock() + seconds
        self.took: dict[str, float] = {}
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - self._clock()

    def step(self, name: str, estimate: float, action: Callable[[], T]) -> T | None:
        """Take a step if it probably fits; None if it does not, or fails."""
        if estimate > self.left:
            self.skip(name, f"needs about {estimate:.0f} s of the {self.left:.0f} s that are left")
            return None
        say(f"{name} ({self.left:.0f} s left)")
        start = self._clock()
        result = self._try(name, action)
        self.took[name] = round(self._clock() - start, 3)
        self._write()
        return result

    def skip(self, name: str, reason: str) -> None:
        """Take note of a step that is not taken."""
        say(f"{name}: left out, {reason}")
        self.skipped[name] = reason
        self._write()

    def _try(self, name: str, action: Callable[[], T]) -> T | None:
        try:
            return action()
        except Exception as error:  # whatever a step dies of, the next ones may still live
            self.failed[name] = f"{type(error).__name__}: {errors.line(error)}"
            say(f"{name}: failed, {self.failed[name]}")
            return None

    def _write(self) -> None:
        facts: dict[str, Any] = {"skipped": self.skipped, "failed": self.failed}
        self._note(steps_s=self.took, **facts)
