"""Training schedules as data: the published one, and a short one."""

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
    betas: tuple[float, float] = Field((0.9, 0.999), description="of Adam")
    amsgrad: bool = Field(False, description="Adam divides by the largest second moment so far")
    clip_norm: float | None = Field(
        None, gt=0, description="longest gradient over all trained parameters; no limit if null"
    )
    weight_decay: float = Field(5e-4, ge=0, le=1)
    schedule: Literal["constant", "cosine", "onecycle", "triangular"] = "cosine"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    norm_bias_lr: float = Field(
        1.0, gt=0, description="rate of the batch norms' biases, times that of the other weights"
    )
    average_weights: bool = Field(
        False, description="every five steps, go back towards the average of the weights so far"
    )
    augment: bool = Field(True, description="whether the data set's augmentation applies")
    crop_padding: int | None = Field(
        None, ge=0, le=64, description="border of the random crop; the data set's own if left out"
    )
    crop_border: Literal["black", "reflected"] = "black"
    flip: Literal["random", "alternate"] = Field(
        "random",
        description="of data sets that flip: alternate mirrors each image every other time",
    )


# `paper` is the schedule of BackdoorBench (Wu et al., NeurIPS 2022). `airbench` is that of Jordan,
# 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (arXiv 2024), for losses that are means: its
# rate of 11.5 and decay of .0153 are per 1,024 samples and per 1 + 1 / (1 - momentum) steps.
RECIPES: dict[str, Recipe] = {
    "paper": Recipe(),
    "fast": Recipe(epochs=14, batch_size=256, lr=0.2, schedule="onecycle", nesterov=True),
    "airbench": Recipe(
        epochs=10,
        batch_size=1024,
        lr=1.5,
        momentum=0.85,
        nesterov=True,
        weight_decay=0.00133,
        schedule="triangular",
        label_smoothing=0.2,
        norm_bias_lr=64,
        average_weights=True,
        crop_padding=2,
        crop_border="reflected",
        flip="alternate",
    ),
}


def resolve(
    name: str, overrides: Mapping[str, Any], of_dataset: Mapping[str, Mapping[str, Any]]
) -> Recipe:
    """A named recipe, with what the data set changes in it, and then what the user changes."""
    fields = RECIPES[name].model_dump() | dict(of_dataset.get(name, {})) | dict(overrides)
    return Recipe(**fields)
