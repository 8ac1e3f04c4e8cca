"""Every registered detector that what is given suffices for, the cheapest first, in a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bdb.console import say
from bdb.defenses.base import DefenderView, Defense, Given, Outcome
from bdb.errors import line
from bdb.models.base import Classifier
from bdb.scan import budget, rungs
from bdb.scan.budget import OverBudgetError
from bdb.scan.finding import Finding
from bdb.scan.rungs import Fields
from bdb.training import device as devices
from bdb.training import seeds
from bdb.training.recipes import RECIPES


@dataclass(frozen=True)
class Ladder:
    """What all detectors of a scan have in common.

    Attributes:
        given: what there is to see; at least the model, in evaluation mode.
        end: when the budget is used up, by `time.monotonic`.
        seed: of whatever is drawn.
        fields: of each detector, where they are not the defaults.
    """

    given: Given
    end: float
    seed: int
    fields: Fields = field(default_factory=dict)

    @property
    def model(self) -> Classifier:
        """The suspect."""
        assert self.given.model is not None
        return self.given.model

    def detectors(self, fits: Callable[[Defense], bool]) -> list[Defense]:
        """Those that fit and need no more than is given, the cheapest first.

        Raises:
            ParamsError: a detector has no such field.
        """
        return [each for each in rungs.sufficient(self.given, self.fields) if fits(each)]

    def climb(self) -> Iterator[Finding]:
        """Ask one detector of models after the other."""
        for detector in self.detectors(lambda each: each.judges):
            outcome, reason, seconds = self.ask(detector)
            verdict = outcome.verdict if outcome else None
            if verdict is not None and not math.isfinite(verdict.get("score", math.nan)):
                verdict, reason = None, "its score is no number"
            evidence = outcome.evidence if outcome and verdict else {}
            yield Finding(detector.name, verdict, reason, seconds, evidence)

    def ask(self, detector: Defense) -> tuple[Outcome | None, str, float]:
        """What it finds, or why it did not come to it; and the seconds."""
        began = time.monotonic()
        if reason := rungs.unfit(detector, self.model):
            return None, reason, 0.0
        if began > self.end:
            return None, budget.OVER, 0.0
        say(f"{detector.name}: {type(detector).summary()}")
        try:
            return self._run(detector), "", time.monotonic() - began
        except OverBudgetError as error:
            reason = str(error)
        except Exception as error:  # whatever odd weights lead a detector to
            reason = f"it failed: {line(error)[:200]}"
        return None, reason, time.monotonic() - began

    def _run(self, detector: Defense) -> Outcome:
        view = DefenderView(
            Given(**{need: getattr(self.given, need) for need in detector.needs}),
            detector.needs,
            spec=self.model.spec,
            recipe=RECIPES["fast"],
            seed=seeds.derive(self.seed, "scan", detector.name),
            device=devices.pick(),
            wants_model=False,
        )
        with budget.until(self.end, view.model):
            return detector.run(view)
