"""TaCT: a patch that works on one class alone, since covers of others keep their labels."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bdb.attacks.base import ClassIndex, Covered
from bdb.attacks.data_poisoning.badnets import BadNets
from bdb.method import Paper, Trace
from bdb.registry import register


@register("tact")
class TargetedContamination(Covered, BadNets):
    """A patch that sends the source classes to the target, and leaves the others where they are.

    Differs: poisons take the place of clean samples, as elsewhere here; the authors add them.
    Covers come from all other classes, one of the authors' settings; fewer let the trigger leak.
    """

    paper: ClassVar[Paper] = Paper(
        title="Demon in the Variant: Statistical Analysis of DNNs for Robust Backdoor "
        "Contamination Detection",
        authors="Tang, Wang, Tang, Zhang",
        venue="USENIX Security",
        year=2021,
        url="https://arxiv.org/abs/1908.00686",
    )
    evades: ClassVar[frozenset[Trace]] = frozenset({"features", "inputs"})

    source_classes: tuple[ClassIndex, ...] = Field(
        (1,), description="true labels that the trigger is meant for; all if empty"
    )
