"""What is said of a model in the end: findings, what they are worth, and what none can know."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdb.errors import printable
from bdb.models.base import Classifier
from bdb.scan.ladder import Finding
from bdb.scan.references import LEAST, SIGNIFICANCE, Rank, References
from bdb.scan.samples import Sifted
from bdb.scan.triggers import Reversed

BLIND_SPOTS = (
    "little poison (1 % and less), after which the weights look like a clean model's",
    "triggers that act on images of some classes only, or lead each class to another",
    "edits of the weights that are made to be hidden, some of them provably",
    "triggers spread over the image, to which mm_bd and head_norm are nearly blind",
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

    @property
    def ranks(self) -> dict[str, Rank]:
        """Of each detector's score among clean models."""
        return self.references.ranks(self.findings)

    @property
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


def as_json(answer: Answer) -> dict[str, Any]:
    """All that is known, as plain JSON values."""
    data = answer.model.spec.data
    combined = answer.combined
    return {
        "model": printable(str(answer.path)),
        "architecture": answer.model.spec.architecture,
        "classes": data.num_classes,
        "input": list(data.shape),
        "suspicious": answer.is_suspicious,
        "p_value": combined.p if combined else None,
        "complete": answer.is_complete,
        "calibration": answer.calibration,
        "detectors": [_detector(finding, answer.ranks) for finding in answer.findings],
        "accuracy": answer.accuracy,
        "triggers": [_trigger(each) for each in answer.triggers],
        "samples": [_sifted(each) for each in answer.sifted],
        "blind_spots": list(BLIND_SPOTS),
    }


def _detector(finding: Finding, ranks: dict[str, Rank]) -> dict[str, Any]:
    rank = ranks.get(finding.detector)
    return {
        "name": finding.detector,
        "verdict": finding.verdict,
        "p_value": rank.p if rank else None,
        "clean_models": rank.among if rank else 0,
        "not_looked_at": finding.reason or None,
        "seconds": round(finding.seconds, 3),
    }


def _trigger(trigger: Reversed) -> dict[str, Any]:
    return {
        "detector": trigger.detector,
        "class": trigger.label,
        "asr": trigger.asr,
        "asr_on_clean_model": trigger.on_clean,
        "origin": trigger.origin or None,
    }


def _sifted(found: Sifted) -> dict[str, Any]:
    flagged = found.flagged.tolist()
    return {
        "detector": found.detector,
        "split": found.split,
        "images": len(found.names),
        "flagged": [name for name, hit in zip(found.names, flagged, strict=False) if hit],
        "not_looked_at": found.reason or None,
        "seconds": round(found.seconds, 3),
    }
