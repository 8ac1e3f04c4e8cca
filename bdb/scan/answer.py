"""What is said of a model in the end: findings, the answer, and what it cannot know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bdb.errors import printable
from bdb.models.base import Classifier
from bdb.scan.ladder import Finding

BLIND_SPOTS = (
    "little poison (1 % and less), after which the weights look like a clean model's",
    "triggers that act on images of some classes only, or lead each class to another",
    "edits of the weights that are made to be hidden, some of them provably",
    "triggers spread over the image, to which mm_bd and head_norm are nearly blind",
)
UNCALIBRATED = (
    "uncalibrated: no population of reference models was compared with; each detector has its own "
    "threshold, and mm_bd suspected one or two of three clean models of digits"
)


def as_json(path: Path, model: Classifier, findings: list[Finding]) -> dict[str, Any]:
    """All that is known, as plain JSON values."""
    data = model.spec.data
    return {
        "model": printable(str(path)),
        "architecture": model.spec.architecture,
        "classes": data.num_classes,
        "input": list(data.shape),
        "suspicious": is_suspicious(findings),
        "complete": not any(finding.reason for finding in findings),
        "calibration": UNCALIBRATED,
        "detectors": [
            {
                "name": finding.detector,
                "verdict": finding.verdict,
                "not_looked_at": finding.reason or None,
                "seconds": round(finding.seconds, 3),
            }
            for finding in findings
        ],
        "blind_spots": list(BLIND_SPOTS),
    }


def is_suspicious(findings: list[Finding]) -> bool:
    """Whether any detector suspects the model."""
    return any(finding.is_suspicious for finding in findings)


def text(path: Path, model: Classifier, findings: list[Finding]) -> str:
    """The same for people."""
    data = model.spec.data
    shape = " x ".join(str(side) for side in data.shape)
    lines = [f"{path}: {model.spec.architecture}, {data.num_classes} classes, input {shape}"]
    lines += [_line(finding, data.classes) for finding in findings]
    suspicious = [finding.detector for finding in findings if finding.is_suspicious]
    found = f"suspicious, says {', '.join(suspicious)}" if suspicious else "nothing found"
    lines += [found, UNCALIBRATED, "no scan of weights alone sees:"]
    lines += [f"  - {spot}" for spot in BLIND_SPOTS]
    return "\n".join(printable(each) for each in lines)


def _line(finding: Finding, classes: tuple[str, ...]) -> str:
    if finding.verdict is None:
        return f"  {finding.detector}: not looked at, since {finding.reason}"
    said = "suspicious" if finding.is_suspicious else "nothing"
    targets = ", ".join(classes[target] for target in finding.targets[:5])
    of_class = f", class {targets}" if targets else ""
    score = finding.verdict["score"]
    return f"  {finding.detector}: {said}{of_class} (score {score:.2f}, {finding.seconds:.1f} s)"
