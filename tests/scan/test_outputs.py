"""The page and the SARIF log of an answer: whole, valid, and safe whatever a file calls itself."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from scanned import bdb

from bdb.datasets.base import DataSpec
from bdb.errors import ArtifactError
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.scan import comparable, outputs, page, sarif
from bdb.scan.answer import Answer
from bdb.scan.finding import Finding
from bdb.scan.outputs import Paths
from bdb.scan.samples import Sifted
from bdb.scan.triggers import Reversed
from bdb.testing import Lab

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
# What SARIF 2.1.0 (OASIS, 2020) requires of each object that is written here, by section.
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],  # 3.13.2, 3.13.4
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],  # 3.14.6, and 3.14.23 where a scan has been made
                "properties": {
                    "tool": {
                        "required": ["driver"],  # 3.18.2
                        "properties": {
                            "driver": {
                                "required": ["name"],  # 3.19.8
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id"],  # 3.49.3
                                            "properties": {"shortDescription": TEXT},
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "invocations": {
                        "items": {
                            "required": ["executionSuccessful"],  # 3.20.14
                            "properties": {
                                "executionSuccessful": {"type": "boolean"},
                                "toolExecutionNotifications": {
                                    "items": {
                                        "required": ["message"],  # 3.58.5
                                        "properties": {
                                            "message": TEXT,
                                            "level": {"enum": ["none", "note", "warning", "error"]},
                                        },
                                    }
                                },
                            },
                        }
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "required": ["message", "ruleId"],  # 3.27.11, 3.27.5
                            "properties": {
                                "message": TEXT,
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "locations": {
                                    "type": "array",
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation"],  # 3.29.2
                                                "properties": {
                                                    "artifactLocation": {
                                                        "required": ["uri"],  # 3.4.2
                                                        "properties": {
                                                            "uri": {"pattern": r"^[^\s<>\"]+$"}
                                                        },
                                                    }
                                                },
                                            }
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
DATA = DataSpec(
    dataset="digits",
    classes=("<b>zero</b>", *"123456789"),
    shape=(3, 32, 32),
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


@pytest.fixture
def answer() -> Answer:
    spec = ModelSpec(architecture="convnet", fields={"width": 8}, data=DATA)
    findings = [
        Finding("head_norm", {"backdoored": True, "score": 99.0, "targets": [0]}, "", 0.1),
        Finding("mm_bd", {"backdoored": True, "score": 0.1, "suspect": 3}, "", 2.0),
        Finding("nc", reason="it failed: <script>alert(1)</script>"),
    ]
    trigger = Reversed("nc", 0, torch.rand(3, 32, 32), 0.93, 0.02)
    beside = comparable.find(None, spec, "fast")
    model = models.build(spec, 0).eval()
    sifted = Sifted("strip", "inputs", ["<u>.png"], torch.ones(1), torch.tensor([True]))
    return Answer(Path("a model <i>.pt"), model, findings, beside, 0.98, [trigger], [sifted])


def test_the_log_has_what_the_standard_requires(answer: Answer) -> None:
    log = sarif.document(answer)
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]
    (result,) = run["results"]
    rules = run["tool"]["driver"]["rules"]
    assert result["ruleId"] == rules[result["ruleIndex"]]["id"] == "head_norm"
    assert result["properties"]["pValue"] == pytest.approx(1 / 51)
    (skipped,) = run["invocations"][0]["toolExecutionNotifications"]
    assert "nc: not looked at" in skipped["message"]["text"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("a%20")


def test_the_test_of_the_log_can_fail(answer: Answer) -> None:
    log = sarif.document(answer)
    for broken in (
        {"version": "2.1.0"},
        log | {"version": "2.0.0"},
        log | {"runs": [{"tool": {"driver": {}}, "results": []}]},
        log | {"runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"ruleId": "a"}]}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(SARIF).validate(broken)


class Tags(HTMLParser):
    """What tags there are, and what they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_no_network_and_runs_nothing(answer: Answer) -> None:
    text = page.html(answer)
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.found
    assert not {"b", "i", "u"} & set(tags.found)
    assert all(link.startswith("data:") for link in tags.links)
    assert not re.search("https?://", text)
    for part in (
        "Suspicious, says head_norm",
        "0 of 50",
        "planted or not",
        "little poison",
        "98%",
        "flags 1 of 1",
    ):
        assert part in text
    assert "alert(1)" in text


def test_they_are_written_beside_what_is_printed(tmp_path: Path, badnets: Lab) -> None:
    models.save(tmp_path / "model.safetensors", badnets.model)
    asked = ("--html", "answer.html", "--sarif", "answer.sarif", "--budget", "1s")
    done = bdb(tmp_path, "model.safetensors", *asked)
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "answer.html").read_text().rstrip().endswith("</html>")
    log = json.loads((tmp_path / "answer.sarif").read_text())
    jsonschema.Draft202012Validator(SARIF).validate(log)
    assert [each["ruleId"] for each in log["runs"][0]["results"]] == ["head_norm"]


def test_what_cannot_be_written_is_said(answer: Answer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "x"
    for to in (Paths(html=path), Paths(sarif=path), Paths(pictures=path), Paths(scores=path)):
        with pytest.raises(ArtifactError, match="cannot be written"):
            outputs.write(answer, to)
