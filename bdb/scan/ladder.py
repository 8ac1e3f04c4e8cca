"""Every registered detector that what is given suffices for, the cheapest first, in a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn

from bdb import registry
from bdb.console import say
from bdb.defenses.base import DefenderView, Defense, Given, Outcome
from bdb.errors import line
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.models.hooks import hooked
from bdb.scan.finding import Finding
from bdb.training import device as devices
from bdb.training import seeds
from bdb.training.recipes import RECIPES

# Fields that say how often a detector goes through the network.
_PASSES = ("restarts", "rounds", "steps")
Fields = Mapping[str, dict[str, Any]]


class _OverBudgetError(Exception):
    """The time is up."""


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
        """Those that fit and need no more than is given.

        Those whose score can be compared come first, and then the one that looks at fewest images.

        Raises:
            ParamsError: a detector has no such field.
        """
        names = registry.names("defense")
        made = [cast(Defense, registry.get("defense", n).make(**self.fields.get(n, {})))
                for n in names]  # fmt: skip
        offered = {need for need, value in vars(self.given).items() if value is not None}
        fitting = [d for d in made if fits(d) and d.needs <= offered]
        return sorted(fitting, key=self._rank)

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
        if reason := _unfit(detector, self.model):
            return None, reason, 0.0
        if began > self.end:
            return None, "the budget was used up", 0.0
        say(f"{detector.name}: {type(detector).summary()}")
        try:
            return self._run(detector), "", time.monotonic() - began
        except _OverBudgetError:
            reason = "the budget was used up"
        except Exception as error:  # whatever odd weights lead a detector to
            reason = f"it failed: {line(error)[:200]}"
        return None, reason, time.monotonic() - began

    def _rank(self, detector: Defense) -> tuple[bool, int, str]:
        return detector.name not in self.fields, self._cost(detector), detector.name

    def _cost(self, detector: Defense) -> int:
        """Roughly, how many images it looks at."""
        clean = self.given.clean_set
        count = len(clean) if clean is not None and "clean_set" in detector.needs else 1
        for name in _PASSES:
            count *= int(getattr(detector, name, 1))
        return count

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

        def watch(_module: nn.Module, _args: Any) -> None:
            if time.monotonic() > self.end:
                raise _OverBudgetError

        with hooked([view.model.register_forward_pre_hook(watch)]):
            return detector.run(view)


def _unfit(detector: Defense, model: Classifier) -> str:
    """Why a detector has nothing to act on in this model; empty if it has."""
    offers = {
        "features": model.has_features,
        "maps": bool(model.attention_layers),
        "batch_norm": bool(surgery.batch_norms(model)),
    }
    lacking = sorted(need for need in detector.requires if not offers.get(need, False))
    if lacking:
        return f"the model has no {' and '.join(lacking)} that it could look at"
    if model.spec.data.num_classes < detector.min_classes:
        return f"it needs {detector.min_classes} classes"
    return ""
