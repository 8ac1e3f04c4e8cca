"""Every registered detector of models that needs no data, the cheapest first, within a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from bdb import registry
from bdb.console import say
from bdb.defenses.base import DefenderView, Defense, Given
from bdb.errors import line
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.training import device as devices
from bdb.training import seeds
from bdb.training.recipes import RECIPES

# Fields that say how often a detector goes through the network.
_PASSES = ("restarts", "rounds", "steps")


class _OverBudgetError(Exception):
    """The time is up."""


@dataclass(frozen=True)
class Finding:
    """What one detector said.

    Attributes:
        detector: its name.
        verdict: as `Outcome.verdict`; None if it did not come to one.
        reason: why it did not.
        seconds: that it took.
    """

    detector: str
    verdict: dict[str, Any] | None = None
    reason: str = ""
    seconds: float = 0.0

    @property
    def is_suspicious(self) -> bool:
        """Whether the detector, by its own threshold, suspects the model."""
        return bool(self.verdict and self.verdict["backdoored"])

    @property
    def classes(self) -> list[int]:
        """Its suspected classes; the most suspicious one if it suspects none by itself."""
        verdict = self.verdict or {}
        suspect = [verdict["suspect"]] if "suspect" in verdict else []
        return list(verdict.get("targets", [])) or suspect


def detectors(fields: Mapping[str, dict[str, Any]]) -> list[Defense]:
    """Those that need nothing but the model, the one with the fewest passes first.

    Args:
        fields: of each, where they are not the defaults.

    Raises:
        ParamsError: a detector has no such field.
    """
    names = registry.names("defense")
    made = [cast(Defense, registry.get("defense", n).make(**fields.get(n, {}))) for n in names]
    fitting = [d for d in made if d.stage == "model_level" and d.needs == {"model"}]
    return sorted(fitting, key=lambda detector: (_passes(detector), detector.name))


def climb(
    model: Classifier,
    budget: float | None,
    seed: int,
    fields: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> Iterator[Finding]:
    """Ask one detector after the other.

    Args:
        model: the suspect, in evaluation mode.
        budget: seconds for all; a detector that is at it when they are over is stopped.
        seed: of whatever is drawn.
        fields: of each detector, where they are not the defaults.
    """
    end = time.monotonic() + budget if budget is not None else float("inf")
    device = devices.pick()
    for detector in detectors(fields):
        began = time.monotonic()
        if reason := _unfit(detector, model):
            yield Finding(detector.name, reason=reason)
            continue
        say(f"{detector.name}: {type(detector).summary()}")
        verdict, reason = _ask(detector, model, device, end, seed)
        yield Finding(detector.name, verdict, reason, time.monotonic() - began)


def _ask(
    detector: Defense, model: Classifier, device: torch.device, end: float, seed: int
) -> tuple[dict[str, Any] | None, str]:
    """Its verdict, or why there is none."""

    def watch(_module: nn.Module, _args: Any) -> None:
        if time.monotonic() > end:
            raise _OverBudgetError

    view = DefenderView(
        Given(model=model),
        detector.needs,
        spec=model.spec,
        recipe=RECIPES["fast"],
        seed=seeds.derive(seed, "scan", detector.name),
        device=device,
    )
    hook = view.model.register_forward_pre_hook(watch)
    try:
        if time.monotonic() > end:
            raise _OverBudgetError
        verdict = detector.run(view).verdict
        if verdict is None or not math.isfinite(verdict["score"]):
            return None, "its score is no number"
        return verdict, ""
    except _OverBudgetError:
        return None, "the budget was used up"
    except Exception as error:  # whatever odd weights lead a detector to
        return None, f"it failed: {line(error)[:200]}"
    finally:
        hook.remove()


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


def _passes(detector: Defense) -> int:
    passes = 1
    for name in _PASSES:
        passes *= int(getattr(detector, name, 1))
    return passes
