"""What defenses share that train a head on features that stay as they are."""

from __future__ import annotations

from typing import Any

from bdb.defenses.base import DefenderView
from bdb.models.base import Classifier
from bdb.training.loop import Data
from bdb.training.recipes import Recipe


def fit_head(
    view: DefenderView, model: Classifier, data: Data, recipe: Recipe, **options: Any
) -> None:
    """Train a model's head alone, in place; batch statistics are frozen too.

    Args:
        view: the defender's.
        model: on the device.
        data: to train on.
        recipe: schedule and optimiser.
        options: as `view.fit` takes them.
    """
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    try:
        head = model.head.parameters()
        view.fit(model, data, recipe, parameters=head, train_mode=False, what="head", **options)
    finally:
        model.requires_grad_(True)
