"""Training schedules as data: the published one, and a fast one for the same end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from bdb.method import Frozen


class Recipe(Frozen):
    """How long, with what, and how fast to train."""

    epochs: int = Field(100, ge=1, le=100_000, description="passes over the data")
    batch_size: int = Field(128, ge=2, le=65_536, description="samples per step")
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(0.01, gt=0, le=1e4, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0, le=1)
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: bool = Field(True, description="whether the data set's augmentation applies")


# `paper` is the schedule of BackdoorBench (Wu et al., NeurIPS 2022).
RECIPES: dict[str, Recipe] = {
    "paper": Recipe(),
    "fast": Recipe(epochs=14, batch_size=256, lr=0.2, schedule="onecycle", nesterov=True),
}


def resolve(
    name: str, overrides: Mapping[str, Any], of_dataset: Mapping[str, Mapping[str, Any]]
) -> Recipe:
    """A named recipe, with what the data set changes in it, and then what the user changes."""
    fields = RECIPES[name].model_dump() | dict(of_dataset.get(name, {})) | dict(overrides)
    return Recipe(**fields)
