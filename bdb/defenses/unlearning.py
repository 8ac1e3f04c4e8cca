"""Forgetting clean images: what changes, and what is left, tells of a backdoor."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


def forget(view: DefenderView, data: ImageSet, recipe: Recipe, floor: float) -> Classifier:
    """A copy of the suspect that has climbed the loss of images until it gets few of them right.

    Args:
        view: whose model is copied, and which trains.
        data: to forget.
        recipe: of the ascent.
        floor: accuracy over a pass at which it ends, before its last epoch.
    """
    model = models.duplicate(view.model)
    right: list[Tensor] = []

    def ascent(model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch.images)
        right.append(logits.detach().argmax(1) == batch.labels)
        return -cross_entropy(logits, batch.labels)

    def forgotten(_epoch: int, _model: nn.Module) -> bool:
        share = sum(int(part.sum()) for part in right) / len(data)
        right.clear()
        return share <= floor

    view.fit(model, data, recipe, step=ascent, epoch_end=forgotten, what="unlearn")
    return model
