"""What a defense found is what it declares, of the right form, and kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from bdb import artifacts
from bdb.defenses import evidence
from bdb.defenses.base import DefenderView, ModelLevel, Outcome
from bdb.testing import Lab, check_defense

FOUND: dict[str, Tensor] = {
    "trigger": torch.full((10, 3, 32, 32), 0.25),
    "mask": torch.ones(10, 1, 32, 32),
    "norm": torch.arange(10.0),
    "universal": torch.zeros(1, 3, 32, 32),
}
VERDICT = {"score": 1.0, "suspect": 0}


class Finder(ModelLevel):
    """Finds the same in every model."""

    name = "finder"
    needs = frozenset({"model"})
    evidence = tuple(FOUND)
    found: ClassVar[Mapping[str, Tensor]] = FOUND

    def run(self, view: DefenderView) -> Outcome:
        return Outcome(verdict=VERDICT, evidence=self.found)


def test_the_checker_accepts_what_was_declared() -> None:
    check_defense(Finder)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("pattern", torch.zeros(10), "was not declared; declared are trigger, mask, norm"),
        ("norm", torch.zeros(9), r"has shape \(9,\); allowed are images \(10, 3, 32, 32\)"),
        ("norm", torch.zeros(10, 2), r"has shape \(10, 2\); .*, numbers \(10,\), or 1 row"),
        ("mask", torch.zeros(1, 32, 32), r"has shape \(1, 32, 32\); .* masks \(10, 1, 32, 32\)"),
        ("mask", torch.zeros(()), r"has shape \(\);"),
        ("trigger", torch.full((10, 3, 32, 32), 255.0), r"lies in \[255, 255\]; .* in \[0, 1\]"),
        (
            "trigger",
            torch.zeros(10, dtype=torch.uint8),
            "is torch.uint8; it has to be",
        ),
        ("norm", torch.full((10,), float("nan")), "holds NaN or infinity"),
    ],
)
def test_other_evidence_is_refused_in_a_line(
    badnets: Lab, name: str, tensor: Tensor, said: str
) -> None:
    class Other(Finder):
        """Finds something else."""

        found = FOUND | {name: tensor}

    problem = evidence.problem(Other.found, Other(), badnets.spec.data)
    assert problem is not None
    assert "\n" not in problem
    with pytest.raises(AssertionError, match=f"^finder: evidence '{name}' {said}"):
        check_defense(Other)


def test_declared_evidence_has_to_be_given(badnets: Lab) -> None:
    some = {name: tensor for name, tensor in FOUND.items() if name != "mask"}
    said = "finder: evidence 'mask' was declared and not given; given are trigger, norm, universal"
    assert evidence.problem(some, Finder(), badnets.spec.data) == said


def test_evidence_that_differs_with_equal_seeds_is_refused() -> None:
    class Fickle(Finder):
        """Draws outside of the view."""

        def run(self, view: DefenderView) -> Outcome:
            return Outcome(verdict=VERDICT, evidence=FOUND | {"norm": torch.rand(10)})

    with pytest.raises(AssertionError, match="same seed, same evidence"):
        check_defense(Fickle)


def test_what_is_kept_says_what_its_rows_are(badnets: Lab, tmp_path: Path) -> None:
    path = tmp_path / "evidence.safetensors"
    double = FOUND | {"norm": torch.arange(10).double()}
    evidence.save(path, double, Finder(), badnets.spec.data, origin={"seed": 0})
    tensors, facts = artifacts.read_tensors(path)
    assert facts["order"] == ["trigger", "mask", "norm", "universal"]
    assert facts["classes"] == list(badnets.spec.data.classes)
    assert facts["origin"] == {"seed": 0}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in FOUND.items())
