"""What a victim makes of images: extracted once, and read by every detector that declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from bdb import artifacts
from bdb.models.base import Classifier
from bdb.training import inference


@dataclass(frozen=True)
class Features:
    """What the suspect makes of a set of images; row i is of the set's sample i.

    Attributes:
        penultimate: float32, N x D, on the CPU: the input of the model's linear head.
        logits: float32, N x K, on the CPU.
    """

    penultimate: Tensor
    logits: Tensor

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True)
class VictimFeatures:
    """The features of the training set as delivered, and those of the defender's clean set."""

    train: Features
    clean: Features


@torch.no_grad()
def extract(model: Classifier, images: Tensor) -> Features:
    """Let a model see uint8 images once, in evaluation mode, on its own device.

    Raises:
        ParamsError: the model is an ensemble, which has no single features.
    """
    penultimate = inference.features(model, images)
    # The head once more, over all: next to nothing beside a second pass over the images.
    logits = model.classify(penultimate.to(model.head.weight.device)).cpu()
    return Features(penultimate, logits)


def save(
    path: Path,
    features: VictimFeatures,
    others: Mapping[str, Features] = MappingProxyType({}),
    **metadata: Any,
) -> None:
    """Write both sets' features as safetensors, and those of other clean sets by name."""
    tensors = {
        f"{split}.{name}": tensor
        for split, of_split in {**vars(features), **others}.items()
        for name, tensor in vars(of_split).items()
    }
    artifacts.write_tensors(path, tensors, metadata)


def load(path: Path, clean: str = "clean") -> VictimFeatures:
    """Read both sets' features.

    Args:
        path: of the file.
        clean: the name of another clean set.

    Raises:
        ArtifactError: the file is missing, damaged, or of another form.
    """
    tensors, _ = artifacts.read_tensors(path)

    def of(split: str) -> Features:
        names = {f"{split}.{field.name}": field.name for field in fields(Features)}
        artifacts.require(tensors, path, **dict.fromkeys(names, (torch.float32, 2)))
        return Features(**{name: tensors[key] for key, name in names.items()})

    return VictimFeatures(of("train"), of(clean))
