"""An answer as SARIF 2.1.0, which code hosts and editors show beside a file."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from bdb import __version__
from bdb.errors import printable
from bdb.scan import plain
from bdb.scan.answer import Answer
from bdb.scan.finding import Finding

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def document(answer: Answer) -> dict[str, Any]:
    """A log with one run; a rule per detector, a result per detector that suspects the model.

    What was not looked at is a notification of the run.
    """
    judged = [each for each in answer.findings if each.verdict is not None]
    rules = [_rule(each.detector) for each in judged]
    suspicious = set(answer.suspects) if answer.is_suspicious else set()
    results = [_result(each, at, answer) for at, each in enumerate(judged)
               if each.detector in suspicious]  # fmt: skip
    skipped = [_notification(each) for each in answer.findings if each.verdict is None]
    driver = {"name": "bdb scan", "semanticVersion": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {"executionSuccessful": True, "toolExecutionNotifications": skipped},
        ],
        "results": results,
        "properties": {"calibration": printable(answer.calibration)},
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(detector: str) -> dict[str, Any]:
    from bdb import registry

    summary = registry.get("defense", detector).summary()
    return {"id": detector, "shortDescription": {"text": summary}}


def _result(finding: Finding, rule: int, answer: Answer) -> dict[str, Any]:
    rank = answer.ranks.get(finding.detector)
    return {
        "ruleId": finding.detector,
        "ruleIndex": rule,
        "level": "warning",
        "message": {"text": printable(plain.line(finding, answer))},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": quote(answer.path.as_posix())}}},
        ],
        "properties": {"score": (finding.verdict or {})["score"], "pValue": rank and rank.p},
    }


def _notification(finding: Finding) -> dict[str, Any]:
    text = f"{finding.detector}: not looked at, since {finding.reason}"
    return {"level": "note", "message": {"text": printable(text)}}
