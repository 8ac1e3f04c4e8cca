"""An answer as plain JSON values."""

from __future__ import annotations

from typing import Any

from bdb.errors import printable
from bdb.scan.answer import BLIND_SPOTS, Answer
from bdb.scan.finding import Finding
from bdb.scan.references import Rank
from bdb.scan.samples import Sifted
from bdb.scan.triggers import Reversed


def document(answer: Answer) -> dict[str, Any]:
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
