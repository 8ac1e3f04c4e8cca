"""What is known of a model's images: by its weights, by what stands beside them, or told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from bdb import registry
from bdb.datasets.base import Dataset, DataSpec
from bdb.errors import SuspectError
from bdb.scan.files import Found

LARGEST = 1024  # side of images in pixels
CLASSES = 100_000
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Told:
    """What the user says of a model; what is empty is to be inferred."""

    arch: str = ""
    size: int = 0
    normalize: str = ""


def data_of(found: Found, told: Told) -> DataSpec:
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
        classes=tuple(str(number) for number in range(min(matrices[-1].shape[0], CLASSES))),
        shape=(min(channels, 64), min(height, LARGEST), min(width, LARGEST)),
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
