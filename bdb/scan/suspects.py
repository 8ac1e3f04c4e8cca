"""From what a file held to a classifier that detectors can look at, or one line that asks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from bdb.console import say
from bdb.datasets.base import DataSpec
from bdb.errors import SuspectError
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.models.foreign_nets import TIMM
from bdb.scan import architectures, facts, files, layouts
from bdb.scan.facts import Told
from bdb.scan.files import Found

_WRAPPERS = 16
__all__ = ["Told", "load", "recipe"]


def load(found: Found, told: Told, data: DataSpec | None = None) -> Classifier:
    """The model, in evaluation mode on the CPU, with what is known of its data as `spec`.

    Args:
        found: in its file.
        told: what cannot be inferred.
        data: what it was trained on, but for how it normalises images, where that is known.

    Raises:
        SuspectError: no architecture fits, or the user has to say what cannot be inferred.
    """
    with files.named(found.path):
        if found.is_ours:
            model = _ours(found)
        elif "model" in (about := found.records.get("about", {})):
            model = _exported(found, about["model"])
        else:
            model = _brought(found, told, data)
    seen = model.spec.data
    if max(seen.shape) > facts.LARGEST or seen.num_classes > facts.CLASSES:
        raise SuspectError(f"{found.path}: images or classes beyond all measure")
    return model.eval()


def recipe(found: Found) -> str:
    """That bdb trained it by; empty if nobody knows."""
    from bdb import artifacts

    value: Any = artifacts.read_metadata(found.path) if found.is_ours else {}
    for key in ("origin", "params", "training", "recipe"):
        value = value.get(key, "") if isinstance(value, dict) else ""
    return value if isinstance(value, str) else ""


def _ours(found: Found) -> Classifier:
    from bdb import artifacts

    _spec(artifacts.read_metadata(found.path)["model"], found)
    return models.load(found.path)


def _exported(found: Found, spec: Any) -> Classifier:
    """What `bdb export model` wrote: weights, and beside them what they are of."""
    model = models.build(_spec(spec, found), 0, pretrain=False)
    model.load_state_dict(found.state)
    return model


def _spec(value: Any, found: Found) -> ModelSpec:
    """What a file says of its own weights, if that is no more than they are.

    Raises:
        SuspectError: it is.
    """
    if str(value).count("'wrappers'") > _WRAPPERS:
        raise SuspectError(f"wrapped more than {_WRAPPERS} times")
    spec = ModelSpec(**value)
    layouts.check(partial(models.build, spec, 0, pretrain=False), found.state)
    return spec


def _brought(found: Found, told: Told, known: DataSpec | None) -> Classifier:
    told = replace(told, size=known.shape[1]) if known and not told.size else told
    data = facts.data_of(found, told)
    if known:
        data = known.model_copy(update={"mean": data.mean, "std": data.std})
    return architectures.build(_arch(found, told, data), data, found.state)


def _arch(found: Found, told: Told, data: DataSpec) -> str:
    """The architecture's name: told, in the facts, or the only one that the weights fit.

    Raises:
        SuspectError: it is neither of these.
    """
    named = told.arch or str(found.facts.get("model_name", ""))
    if isinstance(of_timm := found.facts.get("architecture"), str) and not named:
        return f"{TIMM}{of_timm}"
    if named:
        return named
    fitting = architectures.inferred(found.state, data)
    if len(fitting) == 1:
        say(f"the weights are those of {fitting[0]}")
        return fitting[0]
    known = "NAME (of torchvision, timm/NAME, or of `bdb list model`)"
    which = f"one of {', '.join(fitting)}" if fitting else known
    raise SuspectError(f"cannot be told from the weights: --arch {which}")
