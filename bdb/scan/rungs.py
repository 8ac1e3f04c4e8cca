"""The registered detectors as rungs of a ladder: what each needs, and which comes first."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, cast

from bdb import registry
from bdb.defenses.base import Defense, Given
from bdb.models import surgery
from bdb.models.base import Classifier

# Fields that say how often a detector goes through the network; those of a repair do not count.
_TIMES = ("restarts", "rounds", "steps")
_PASSES = "epochs"
_REPAIR = "unlearning"
Fields = Mapping[str, dict[str, Any]]


def sufficient(given: Given, fields: Fields) -> list[Defense]:
    """The detectors that need no more than is given.

    Those whose score can be compared come first, and then the one that looks at fewest images.

    Args:
        given: what there is to see.
        fields: of those that clean models were judged by.

    Raises:
        ParamsError: a detector has no such field.
    """
    names = registry.names("defense")
    made = [cast(Defense, registry.get("defense", n).make(**fields.get(n, {}))) for n in names]
    offered = {need for need, value in vars(given).items() if value is not None}
    fitting = [each for each in made if each.needs <= offered]
    return sorted(fitting, key=lambda each: (each.name not in fields, _cost(each, given)))


def unfit(detector: Defense, model: Classifier) -> str:
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


def _cost(detector: Defense, given: Given) -> int:
    """Roughly, how many images it looks at."""
    clean = given.clean_set
    count = len(clean) if clean is not None and "clean_set" in detector.needs else 1
    fields = detector.model_dump()
    times = prod(int(fields.get(name, 1)) for name in _TIMES)
    trained = (n for n in fields if n.endswith(_PASSES) and not n.startswith(_REPAIR))
    return count * times * max(1, sum(fields[name] for name in trained))
