"""What a detector's score of a suspect is worth beside those of clean models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bdb.metrics import verdicts
from bdb.report import population
from bdb.scan.finding import Finding

SIGNIFICANCE = population.FALSE_POSITIVE_RATE
LEAST = 19  # with fewer clean models no p-value falls to the significance


class Rank(NamedTuple):
    """A score among those of clean models: how many are as high, of how many; the p-value."""

    higher: int
    among: int
    p: float


@dataclass(frozen=True)
class References:
    """The clean models of a population that are like the suspect.

    Attributes:
        scores: a row per model, a column per detector.
        fields: of every detector as it judged them; a suspect's is comparable under these alone.
        recipe: that they were trained by.
        lacking: why there are none, in words.
    """

    scores: pd.DataFrame
    fields: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    recipe: str = ""
    lacking: str = ""

    def ranks(self, findings: Sequence[Finding]) -> dict[str, Rank]:
        """Of every detector that came to a score and has judged clean models."""
        return {
            name: Rank(int((clean >= score).sum()), len(clean), verdicts.p_value(score, clean))
            for name, score in self._scored(findings).items()
            if len(clean := self.scores[name].dropna().to_numpy(dtype=float))
        }

    def combined(self, findings: Sequence[Finding]) -> Rank | None:
        """Of all these detectors together, among the clean models that all of them have judged."""
        scored = self._scored(findings)
        clean = self.scores[list(scored)].dropna().to_numpy(dtype=float)
        if not scored or len(clean) < LEAST:
            return None
        p = verdicts.combined_p_value(np.array(list(scored.values())), clean)
        return Rank(round(p * (len(clean) + 1)) - 1, len(clean), p)

    def _scored(self, findings: Sequence[Finding]) -> dict[str, float]:
        judged = (each for each in findings if each.verdict and each.detector in self.scores)
        return {each.detector: float(each.verdict["score"]) for each in judged if each.verdict}
