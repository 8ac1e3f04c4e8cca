"""What is said of a model in the end: findings, what they are worth, and what none can know."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bdb.models.base import Classifier
from bdb.scan.finding import Finding
from bdb.scan.references import LEAST, SIGNIFICANCE, Rank, References
from bdb.scan.samples import Sifted
from bdb.scan.triggers import Reversed

BLIND_SPOTS = (
    "little poison (1 % and less), after which the weights look like a clean model's",
    "triggers that act on images of some classes only, or lead each class to another",
    "edits of the weights that are made to be hidden, some of them provably",
    "triggers spread over the image, to which mm_bd and freeeagle are blind: blended, for one",
)
_OWN = "each detector has its own threshold, and mm_bd suspected 36 % of 50 clean models of digits"


@dataclass(frozen=True)
class Answer:
    """Everything that is known of a model.

    Attributes:
        path: of its file.
        model: with its specification.
        findings: what each detector said.
        references: clean models that are like it, if there are any.
        accuracy: on the clean images; None without any.
        triggers: that detectors reversed, and what these do.
        sifted: what detectors said of single images.
    """

    path: Path
    model: Classifier
    findings: list[Finding]
    references: References
    accuracy: float | None = None
    triggers: list[Reversed] = field(default_factory=list)
    sifted: list[Sifted] = field(default_factory=list)

    @cached_property
    def ranks(self) -> dict[str, Rank]:
        """Of each detector's score among clean models."""
        return self.references.ranks(self.findings)

    @cached_property
    def combined(self) -> Rank | None:
        """Of all detectors together; None where the answer is uncalibrated."""
        return self.references.combined(self.findings)

    @property
    def is_suspicious(self) -> bool:
        """By the p-value of all; where there is none, by any detector's own threshold."""
        combined = self.combined
        if combined is None:
            return any(finding.is_suspicious for finding in self.findings)
        return combined.p <= SIGNIFICANCE

    @property
    def is_complete(self) -> bool:
        """Whether every detector came to an end."""
        reasons = [each.reason for each in self.findings] + [each.reason for each in self.sifted]
        return not any(reasons)

    @property
    def suspects(self) -> list[str]:
        """The detectors behind a suspicion: by their own rank, or else by their own threshold."""
        if self.combined is None:
            return [each.detector for each in self.findings if each.is_suspicious]
        least = min(rank.p for rank in self.ranks.values())
        return [n for n, rank in self.ranks.items() if rank.p <= max(SIGNIFICANCE, least)]

    @property
    def calibration(self) -> str:
        """What the verdict rests on, in a sentence."""
        rank, references = self.combined, self.references
        if rank is not None:
            recipe = f", trained by recipe {references.recipe}," if references.recipe else ""
            return (
                f"calibrated: {rank.higher} of {rank.among} clean models{recipe} look at least as "
                f"suspicious to all detectors together (p = {rank.p:.2g}); suspicious is p <= "
                f"{SIGNIFICANCE:g}"
            )
        few = f"fewer than {LEAST} clean models to compare with, or no score"
        return f"uncalibrated: {references.lacking or few}; {_OWN}"
