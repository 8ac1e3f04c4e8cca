"""Tuning a model on a few test images, some of them poisoned, and judging it by the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bdb.analyses import common
from bdb.analyses.base import AnalysisView
from bdb.analyses.tasks import BACKDOOR, CLEAN, Task
from bdb.datasets.base import ImageSet
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.training import loop
from bdb.training.recipes import Recipe


@dataclass(frozen=True)
class Part:
    """What a model is tuned on, and what it is judged by; no image is in both.

    Attributes:
        tuning: clean images, and then `poisoned` triggered ones under their target.
        clean: the clean images that are left, and their classes.
        backdoor: the triggered ones that are left, and their targets.
    """

    tuning: ImageSet
    poisoned: int
    clean: Task
    backdoor: Task

    def rates(self, model: nn.Module) -> tuple[float, float]:
        """C-Acc and ASR."""
        return self.clean.measure(model)[1], self.backdoor.measure(model)[1]


def divide(view: AnalysisView, clean_share: float, poisoned: int, judged: int) -> Part:
    """Divide the test images and the triggered ones; needs `test` and `triggered`.

    Args:
        view: of what is looked at.
        clean_share: of the test images, to tune on.
        poisoned: triggered images to tune on; at least as many are left to judge by.
        judged: of those left, so many of each task at most, spread over what is wanted of them.
    """
    test, stamped = view.test.to("cpu"), view.triggered
    source = stamped.is_source.cpu()
    triggered = ImageSet.whole(stamped.images.cpu()[source], stamped.targets.cpu()[source])
    count = max(1, round(clean_share * len(test)))
    few = min(poisoned, len(triggered) // 2)
    chosen = _chosen(view, test.labels, count, "clean")
    taken = _chosen(view, stamped.labels.cpu()[source], few, "poisoned")
    tuning = ImageSet.whole(
        torch.cat([test.images[chosen], triggered.images[taken]]),
        torch.cat([test.labels[chosen], triggered.labels[taken]]),
    )
    left = ((CLEAN, test[~chosen]), (BACKDOOR, triggered[~taken]))
    return Part(tuning, few, *(_task(view, name, images, judged) for name, images in left))


def _task(view: AnalysisView, name: str, images: ImageSet, count: int) -> Task:
    some = common.spread(images.labels, count, view.generator(name, "judged")).sort().values
    return Task(name, images.images[some], images.labels[some])


def _chosen(view: AnalysisView, labels: Tensor, count: int, name: str) -> Tensor:
    """Which of the images are: bool, N."""
    positions = common.spread(labels, count, view.generator(name))
    return torch.isin(torch.arange(len(labels)), positions)


def rates(
    view: AnalysisView, model: Classifier, part: Part, recipe: Recipe, seed: int
) -> list[tuple[int, float, float]]:
    """Epoch (0: before), C-Acc and ASR of a copy that is tuned."""
    copy = models.duplicate(model)
    rows = [(0, *part.rates(copy.eval()))]

    def judge(_: int, tuned: nn.Module) -> None:
        rows.append((len(rows), *part.rates(tuned)))

    loop.fit(
        copy,
        part.tuning.to(view.device),
        recipe,
        seed=seed,
        augmentation=view.data.augmentation,
        epoch_end=judge,
        what="relearning",
    )
    return rows
