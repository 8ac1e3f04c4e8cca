"""From what a file held to a classifier that detectors can look at, or one line that asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from bdb import registry
from bdb.console import say
from bdb.datasets.base import Dataset, DataSpec
from bdb.errors import SuspectError, short
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.scan import architectures, files
from bdb.scan.files import Found

_LARGEST = 1024  # side of images in pixels
_CLASSES = 100_000
_WRAPPERS = 16
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Told:
    """What the user says of a model; what is empty is to be inferred."""

    arch: str = ""
    size: int = 0
    normalize: str = ""


def seconds(text: str) -> float | None:
    """How long `60s` or `60` is; None if there is no limit.

    Raises:
        SuspectError: it is no time.
    """
    if not text:
        return None
    number = text.removesuffix("s")
    if not number.replace(".", "", 1).isdigit() or not number.isascii():
        raise SuspectError(f"--budget {short(text)} is no number of seconds, as 60s is")
    return float(number)


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
    channels, *sides = model.spec.data.shape
    if max(sides) > _LARGEST or channels > _LARGEST or model.spec.data.num_classes > _CLASSES:
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

    _check_wrappers(artifacts.read_metadata(found.path))
    return models.load(found.path)


def _exported(found: Found, spec: Any) -> Classifier:
    """What `bdb export model` wrote: weights, and beside them what they are of."""
    _check_wrappers(spec)
    model = models.build(ModelSpec(**spec), 0, pretrain=False)
    model.load_state_dict(found.state)
    return model


def _check_wrappers(metadata: Any) -> None:
    if str(metadata).count("'wrappers'") > _WRAPPERS:
        raise SuspectError(f"wrapped more than {_WRAPPERS} times")


def _brought(found: Found, told: Told, known: DataSpec | None) -> Classifier:
    told = replace(told, size=known.shape[1]) if known and not told.size else told
    data = _data(found, told)
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
        return f"{architectures.TIMM}{of_timm}"
    if named:
        return named
    fitting = architectures.inferred(found.state, data)
    if len(fitting) == 1:
        say(f"the weights are those of {fitting[0]}")
        return fitting[0]
    known = "NAME (of torchvision, timm/NAME, or of `bdb list model`)"
    which = f"one of {', '.join(fitting)}" if fitting else known
    raise SuspectError(f"cannot be told from the weights: --arch {which}")


def _data(found: Found, told: Told) -> DataSpec:
    """Classes, image shape and statistics, inferred or told; asks for all that lacks at once."""
    matrices = [t for t in found.state.values() if t.dim() == 2]
    maps = [t for t in found.state.values() if t.dim() == 4 and min(t.shape) > 0]
    own = [t for name, t in found.state.items() if name == "mean" and t.dim() == 4]
    height, width = (told.size, told.size) if told.size else _sides(found.facts)
    statistics = _statistics(_dataset(told, found) or told.normalize) or _configured(found.facts)
    lacking = {
        "--size PIXELS (side of its input)": min(height, width) > 0,
        "--normalize NAME (imagenet, none, or a data set's)": bool(own or statistics),
    }
    if not all(lacking.values()):
        asked = ", ".join(ask for ask, known in lacking.items() if not known)
        raise SuspectError(f"cannot be told from the weights: {asked}")
    if not matrices or not maps:
        raise SuspectError("no image classifier with a linear last layer")
    channels = own[0].shape[1] if own else maps[0].shape[1]
    mean, std = statistics or ((0.0,), (1.0,))
    return DataSpec(
        dataset=_dataset(told, found) or "brought",
        classes=tuple(str(number) for number in range(min(matrices[-1].shape[0], _CLASSES))),
        shape=(min(channels, 64), min(height, _LARGEST), min(width, _LARGEST)),
        mean=mean if len(mean) == channels else mean[:1] * min(channels, 64),
        std=std if len(std) == channels else std[:1] * min(channels, 64),
    )


def _sides(facts: dict[str, Any]) -> tuple[int, int]:
    """Height and width of images, by BackdoorBench's facts or timm's; 0 if nothing is known."""
    sides = facts.get("img_size", ())
    if len(sides) == 3:
        return int(sides[0]), int(sides[0])
    size = _of_timm(facts).get("input_size", ())
    return (int(size[1]), int(size[2])) if len(size) == 3 else (0, 0)


def _configured(facts: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation per channel as timm's config.json has them."""
    config = _of_timm(facts)
    mean, std = (tuple(map(float, config.get(name, ()))) for name in ("mean", "std"))
    return (mean, std) if mean and std else None


def _of_timm(facts: dict[str, Any]) -> dict[str, Any]:
    config = facts.get("pretrained_cfg")
    return config if isinstance(config, dict) else {}


def _dataset(told: Told, found: Found) -> str:
    """The name of its data set; empty if it is none of ours."""
    name = told.normalize or str(found.facts.get("clean_data", ""))
    name = {"tiny": "tiny_imagenet"}.get(name, name)
    return name if name in registry.names("dataset") else ""


def _statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation per channel that a name stands for; None if nothing is known."""
    if name in ("none", "imagenet"):
        return _IMAGENET if name == "imagenet" else ((0.0,), (1.0,))
    if name not in registry.names("dataset"):
        return None
    dataset = cast(type[Dataset], registry.get("dataset", name))
    return (dataset.mean, dataset.std) if dataset.mean and dataset.std else None
