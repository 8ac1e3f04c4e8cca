"""Models that an attacker trains for itself before it attacks, as plain data: planning reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from bdb import layout
from bdb.layout import CLEAN_ATTACK, CLEAN_RATIO, Run
from bdb.method import Frozen


class Surrogate(Frozen):
    """How a surrogate differs from the run's clean model; with all defaults it is that model."""

    model: str | None = Field(None, description="architecture; the victim's if left out")
    seed: int = Field(0, ge=0, description="added to the run's: one more member of an ensemble")
    foreign: bool = Field(False, description="trained on the attack's foreign data, resized")
    eps: int = Field(0, ge=0, le=255, description="linf radius of adversarial training, in levels")
    steps: int = Field(10, ge=1, description="of PGD in adversarial training")

    def of(self, run: Run, foreign: str | None = None) -> SurrogateJob:
        """This surrogate of a run, whose attack has named a foreign data set or none."""
        model = self.model or run.model
        control = Run(run.dataset, model, CLEAN_ATTACK, CLEAN_RATIO, run.seed + self.seed)
        source = foreign if self.foreign and foreign else run.dataset
        return SurrogateJob(control, source, self.eps, self.steps)


@dataclass(frozen=True)
class SurrogateJob:
    """One surrogate to train; attacks that describe the same share it.

    Attributes:
        run: a clean-model control, for its image shape, architecture and seed.
        source: the data set that it is trained on.
        eps: radius of adversarial training, of 255; 0 trains plainly.
        steps: of PGD.
    """

    run: Run
    source: str
    eps: int
    steps: int

    @property
    def name(self) -> str:
        """How it differs from its control, as it stands in paths; empty if it does not."""
        parts = [f"on-{self.source}"] if self.source != self.run.dataset else []
        parts += [f"linf{self.eps}-steps{self.steps}"] if self.eps else []
        return "-".join(parts)

    @property
    def path(self) -> Path:
        """The weights; those of the control itself if it does not differ from it."""
        return layout.surrogate(self.run, self.name) if self.name else layout.model(self.run)
