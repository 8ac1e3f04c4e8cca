"""Models from their specifications and back: build, wrap, save and load."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from bdb import artifacts, registry
from bdb.errors import ArtifactError
from bdb.models import wrappers  # noqa: F401  (registers them)
from bdb.models.classifier import (
    Architecture,
    Classifier,
    ModelSpec,
    Wrapper,
    WrapperSpec,
    find_wrapper,
    wrapper,
)
from bdb.training import device as devices
from bdb.training import seeds

__all__ = [
    "Architecture",
    "Classifier",
    "ModelSpec",
    "Wrapper",
    "WrapperSpec",
    "build",
    "duplicate",
    "load",
    "save",
    "wrap",
    "wrapper",
]


def build(spec: ModelSpec, seed: int, *, pretrain: bool = True) -> Classifier:
    """Build a model with weights drawn from `seed`, on the CPU.

    Args:
        spec: what to build.
        seed: of every weight that is drawn.
        pretrain: put the weights in place that its fields name; not where others follow anyway.
    """
    architecture = registry.get("model", spec.architecture).make(**spec.fields)
    assert isinstance(architecture, Architecture)
    with seeds.isolated(seed):
        model = architecture.build(spec.data)
    if pretrain:
        architecture.pretrain(model)
    model.spec = spec.model_copy(update={"wrappers": ()})
    for wanted in spec.wrappers:
        members = [build(member, seed, pretrain=pretrain) for member in wanted.members]
        model = wrap(model, wanted.name, *members, **wanted.options)
    return model


def wrap(model: Classifier, name: str, *members: Classifier, **options: Any) -> Classifier:
    """Put a registered wrapper around a model, in the mode that this is in.

    Args:
        model: becomes part of the wrapped one, weights and all.
        name: the wrapper's.
        members: further models that the wrapper holds, likewise; each with weights of its own.
        options: plain JSON values.

    Raises:
        RegistryError: no wrapper has this name.
    """
    wrapped = find_wrapper(name)(model, *members, **options)
    specs = tuple(member.spec for member in members)
    chain = (*model.spec.wrappers, WrapperSpec(name=name, options=options, members=specs))
    wrapped.spec = model.spec.model_copy(update={"wrappers": chain})
    return wrapped.train(model.training)


def changed(spec: ModelSpec) -> dict[str, Any]:
    """The fields of a registered architecture that are not as by default."""
    usual = registry.get("model", spec.architecture).make().model_dump()
    return {name: value for name, value in spec.fields.items() if value != usual.get(name)}


def duplicate(model: Classifier) -> Classifier:
    """A copy that shares nothing with its original."""
    twin = copy.deepcopy(model)
    twin.spec = model.spec
    return twin


def save(path: Path, model: Classifier, **metadata: Any) -> None:
    """Write weights and specification as safetensors."""
    artifacts.write_tensors(
        path, model.state_dict(), {"model": model.spec.model_dump(mode="json"), **metadata}
    )


def load(path: Path, device: torch.device | str = "cpu") -> Classifier:
    """Read a model, in evaluation mode.

    Raises:
        ArtifactError: the file is missing, damaged, or does not fit its own specification.
    """
    tensors, metadata = artifacts.read_tensors(path, device)
    try:
        model = build(ModelSpec(**metadata["model"]), seed=0, pretrain=False).to(device)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: not a model of this version ({reason})") from error
    devices.place(model, torch.device(device))
    return model.eval()
