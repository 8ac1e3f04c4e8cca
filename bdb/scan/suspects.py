"""From what a file held to a classifier that detectors can look at, or one line that asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from bdb import registry
from bdb.datasets.base import Dataset, DataSpec
from bdb.errors import SuspectError, short, unknown
from bdb.models import base as models
from bdb.models.base import Architecture, Classifier, ModelSpec
from bdb.scan import files
from bdb.scan.files import Found
from bdb.torchvision_ops import load as torchvision

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


class Foreign(Classifier):
    """A torchvision network as it is, with its last linear layer as `head`."""

    def __init__(self, data: DataSpec, net: nn.Module) -> None:
        super().__init__(data)
        name, self.head = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
        net.set_submodule(name, nn.Identity())
        for module in net.modules():
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010
        self.net = net

    def extract(self, normalized: Tensor) -> Tensor:
        """Normalised images -> N x D."""
        features: Tensor = self.net(normalized)
        return features


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
    arch = told.arch or str(found.facts.get("model_name", ""))
    told = replace(told, size=known.shape[1]) if known and not told.size else told
    data = _data(found, told, arch)
    if known:
        data = known.model_copy(update={"mean": data.mean, "std": data.std})
    reasons = []
    for build in _builders(arch):
        try:
            return build(data, found.state)
        except (RuntimeError, LookupError, ValueError) as error:
            reasons.append(str(error).strip().splitlines()[-1].strip()[:120])
    raise SuspectError(f"the weights do not fit --arch {arch} ({reasons[0]})")


def _data(found: Found, told: Told, arch: str) -> DataSpec:
    """Classes, image shape and statistics, inferred or told; asks for all that lacks at once."""
    matrices = [t for t in found.state.values() if t.dim() == 2]
    maps = [t for t in found.state.values() if t.dim() == 4 and min(t.shape) > 0]
    own = [t for name, t in found.state.items() if name == "mean" and t.dim() == 4]
    sides = found.facts.get("img_size", ())
    size = told.size or (int(sides[0]) if len(sides) == 3 else 0)
    statistics = _statistics(_dataset(told, found) or told.normalize)
    lacking = {
        "--arch NAME (of torchvision, or of `bdb list model`)": bool(arch),
        "--size PIXELS (side of its input)": size > 0,
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
        shape=(min(channels, 64), min(size, _LARGEST), min(size, _LARGEST)),
        mean=mean if len(mean) == channels else mean[:1] * min(channels, 64),
        std=std if len(std) == channels else std[:1] * min(channels, 64),
    )


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


def _builders(arch: str) -> Iterator[Any]:
    """Ways to build the architecture of a name, ours first."""
    known = {*registry.names("model"), *torchvision().models.list_models(torchvision().models)}
    if arch not in known:
        raise SuspectError(unknown("--arch", arch, known))
    if arch in registry.names("model"):
        yield lambda data, state: _own(arch, data, state)
    if arch in torchvision().models.list_models(torchvision().models):
        yield lambda data, state: _torchvision(arch, data, state)


def _own(arch: str, data: DataSpec, state: dict[str, Tensor]) -> Classifier:
    """One of our architectures, as wide as the weights; the last layer may have another name."""
    method = cast(type[Architecture], registry.get("model", arch))
    widths = [t.shape[0] for t in state.values() if t.dim() == 4 and t.shape[2:] == (3, 3)]
    fields = {"width": widths[0]} if "width" in method.model_fields else {}
    model = models.build(ModelSpec(architecture=arch, fields=fields, data=data), 0, pretrain=False)
    names = ("linear.", "fc.", "classifier.")
    last = next((n for n in names if f"{n}weight" in state and "head.weight" not in state), "head.")
    renamed = {
        f"head.{name.removeprefix(last)}" if name.startswith(last) else name: tensor
        for name, tensor in state.items()
    }
    own = {name: tensor for name, tensor in model.state_dict().items() if name in ("mean", "std")}
    model.load_state_dict({**own, **renamed})
    return model


def _torchvision(arch: str, data: DataSpec, state: dict[str, Tensor]) -> Classifier:
    with torch.random.fork_rng():
        net = torchvision().models.get_model(arch, weights=None, num_classes=data.num_classes)
    net.load_state_dict(state)
    model = Foreign(data, net)
    model.spec = ModelSpec(architecture=arch, data=data)
    return model
