"""What one detector said of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Finding:
    """What one detector said of the model.

    Attributes:
        detector: its name.
        verdict: as `Outcome.verdict`; None if it did not come to one.
        reason: why it did not.
        seconds: that it took.
        evidence: as `Outcome.evidence`.
    """

    detector: str
    verdict: dict[str, Any] | None = None
    reason: str = ""
    seconds: float = 0.0
    evidence: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def is_suspicious(self) -> bool:
        """Whether the detector, by its own threshold if it has one, suspects the model."""
        return bool(self.verdict and self.verdict.get("backdoored"))

    @property
    def has_threshold(self) -> bool:
        """Whether it judges by itself; else its score says something beside clean models alone."""
        return bool(self.verdict and "backdoored" in self.verdict)

    @property
    def classes(self) -> list[int]:
        """Its suspected classes; the most suspicious one if it suspects none by itself."""
        verdict = self.verdict or {}
        suspect = [verdict["suspect"]] if "suspect" in verdict else []
        return list(verdict.get("targets", [])) or suspect
