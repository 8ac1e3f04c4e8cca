"""Poisons that are drawn anew in every batch, as a training-controlled attacker draws them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from bdb.attacks.base import Attack, AttackContext, Controller, Plan
from bdb.training import seeds
from bdb.training.loop import Batch


class Redraw:
    """Draws each batch's poisons and cross samples, and remembers the last draw of every sample.

    A batch holds the plan's shares on average: what is no whole number is rounded by chance.
    Poisons come from the samples that the attack may poison. Nothing is copied to the host.
    """

    def __init__(self, attack: Attack, context: AttackContext, controller: Controller) -> None:
        plan, train = context.plan, context.train
        assert plan is not None
        self.context = context
        self.controller = controller
        poisons = int(plan.is_poison.sum())
        self.ratio = poisons / len(train)
        self.cross_ratio = int(plan.is_cross.sum()) / max(1, poisons)
        labels = train.labels.cpu().numpy()
        rng = seeds.numpy_generator(context.seed, "attack", attack.name, "relabel")
        targets = attack.relabel(labels, rng, context.data.num_classes)
        given = labels if attack.labelling == "clean" else targets
        self._targets = self._by_id(torch.from_numpy(given))
        self._eligible = self._by_id(torch.from_numpy(attack.eligible(labels)))

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The controller's loss of the batch, with new poisons in it."""
        poison, cross = self._draw(batch)
        self.controller.assign(batch.ids, poison, cross)
        labels = torch.where(poison, self._targets[batch.ids], batch.labels)
        return self.controller.step(model, replace(batch, labels=labels))

    def plan(self) -> Plan:
        """What the last pass over the data made of every sample."""
        train = self.context.train
        poison, cross = self.controller.assigned(train.ids)
        labels = torch.where(poison, self._targets[train.ids], train.labels)
        touched = poison | cross
        parts = (train.ids, labels, poison, cross)
        return Plan(*(part[touched].cpu() for part in parts))

    def _draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Which samples of a batch are poison, and which are cross samples: bool, B."""
        eligible = self._eligible[batch.ids]
        count = (self.ratio * len(batch) + batch.rand(1)).floor()
        poison = eligible & (_rank(batch.rand(len(batch)) + ~eligible) < count)
        crossed = (self.cross_ratio * poison.sum() + batch.rand(1)).floor()
        cross = ~poison & (_rank(batch.rand(len(batch)) + poison) < crossed)
        return poison, cross

    def _by_id(self, values: Tensor) -> Tensor:
        ids = self.context.train.ids
        table = values.new_zeros(int(ids.max()) + 1).to(ids.device)
        table[ids] = values.to(ids.device)
        return table


def _rank(keys: Tensor) -> Tensor:
    return keys.argsort().argsort()
