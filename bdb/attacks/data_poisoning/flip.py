"""FLIP: wrong labels of clean images, after which a trigger works that no training image shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from bdb.attacks.base import AttackContext, ClassIndex, LabelMode, Plan, State
from bdb.attacks.data_poisoning.sig import Sig
from bdb.attacks.soft_labels import Search
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.registry import register
from bdb.training import seeds


@register("flip")
class Flip(Sig):
    """Labels flipped where that moves a network as waves on source images would; no pixel changes.

    Experts learn the clean images, and copies that carry waves under the target. Soft labels of the
    clean images alone are searched whose step from an expert's weights is the expert's own; those
    that most doubt the true label become their likeliest other one.

    On digits 3 % of flipped labels cost 2 to 5 points of accuracy, and the trigger works on most
    images of other classes too.

    Differs: labels are searched while an expert trains, so that no weights need be stored; as
    probabilities, not logits (a rate of 1, not 150); and copies take part in the statistics of the
    student's batch norms. So the two steps differ by the copies alone at the start. Their distance
    is not squared: else an expert's first steps, which know no features yet, outweigh the others.
    """

    paper: ClassVar[Paper] = Paper(
        title="Label Poisoning is All You Need",
        authors="Jha, Hayase, Oh",
        venue="NeurIPS",
        year=2023,
        url="https://arxiv.org/abs/2310.18933",
    )
    label_mode: ClassVar[LabelMode] = "label-only"
    needs: ClassVar[frozenset[str]] = frozenset({"architecture"})
    shares_trigger: ClassVar[bool] = True

    target: int = Field(4, ge=0, description="class that the trigger asks for")
    source_classes: tuple[ClassIndex, ...] = Field(
        (9,), description="true labels that the trigger is meant for; all if empty"
    )
    cover_ratio: float = Field(0.0, ge=0, le=0, description="not used: no image has a trigger")
    amplitude: float = Field(6, gt=0, le=255, description="of the wave, in grey levels")
    frequency: float = Field(8, gt=0, le=512, description="waves across the width")
    copies: int = Field(5000, ge=1, description="source images with waves that experts learn")
    experts: int = Field(1, ge=1, description="trained one after the other")
    expert_epochs: int = Field(20, ge=1, description="of an expert's training")
    interval: int = Field(4, ge=1, description="steps of an expert for each that is matched")
    batch_size: int = Field(256, ge=2, description="images whose step is matched")
    label_lr: float = Field(1, gt=0, description="of the soft labels")
    label_momentum: float = Field(0.5, ge=0, lt=1, description="of the soft labels")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Find each sample's likeliest wrong label (int64, N), and its lead over the true one."""
        train = context.train.to(context.device)
        rates, draws = (self.label_lr, self.label_momentum), context.generator(self.name, "matched")
        copies, classes = self._copies(context, train), context.data.num_classes
        search = Search(train, copies, classes, rates, self.batch_size, self.interval, draws)
        changes = {"epochs": self.expert_epochs, "label_smoothing": 0.0}
        recipe = context.recipe.model_copy(update=changes)
        for count in range(self.experts):
            expert, what = context.build_model(self.name, count), f"expert {count}"
            options = {"augmentation": Augmentation(), "before_update": search.match}
            context.fit(expert, search.data, recipe, what=what, **options)
        soft, true = search.labels.detach()[: len(train)], train.labels[:, None]
        best, labels = soft.scatter(1, true, -math.inf).max(1)
        return {"labels": labels, "margins": best - soft.gather(1, true).flatten()}

    def eligible(self, labels: np.ndarray) -> np.ndarray:
        """Any label may be flipped."""
        return np.ones(len(labels), dtype=bool)

    def plan(
        self,
        labels: np.ndarray,
        ratio: float,
        rng: Callable[[str], np.random.Generator],
        context: AttackContext,
    ) -> Plan:
        """Flip the labels of the largest margins, each to its own."""
        count = len(self.select(labels, ratio, rng("select"), context))
        margins, wrong = (context.trigger[name].cpu().numpy() for name in ("margins", "labels"))
        poison = np.argsort(-margins, kind="stable")[:count]
        given = labels.copy()
        given[poison] = wrong[poison]
        return Plan.of(context.train.ids, given, poison, np.empty(0, dtype=np.int64))

    def _copies(self, context: AttackContext, train: ImageSet) -> ImageSet:
        """Source images with the trigger and its target; `ParamsError` if there are none."""
        rng = seeds.numpy_generator(context.seed, "attack", self.name, "copies")
        labels = train.labels.cpu().numpy()
        targets = self.relabel(labels, rng, context.data.num_classes)
        found = np.flatnonzero(self.is_source(labels) & (targets != labels))
        if not len(found):
            raise ParamsError(f"{self.name}.source_classes: no training image is of one of them")
        chosen = torch.from_numpy(rng.permutation(found)[: self.copies]).to(context.device)
        wanted, some = torch.from_numpy(targets).to(context.device)[chosen], train[chosen]
        stamped = self.stamp(some.images, {}, role="poison", ids=some.ids, targets=wanted)
        return ImageSet(stamped, wanted, some.ids)
