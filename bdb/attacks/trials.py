"""Triggers that are chosen by trying them out: each trial trains a victim of the attacker's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from bdb.attacks.base import NOT_TESTED, Attack, AttackContext, State
from bdb.datasets.base import ImageSet
from bdb.models.base import Classifier
from bdb.training import inference, seeds

_HELD = 256  # images, on which triggers are tried


def best(total: int, count: int, rounds: int, success: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Which candidates succeed most often: those below the median give way to others.

    What was not tried yet is held for as good as the median of the last round.

    Args:
        total: how many candidates there are, in an order that says nothing of them.
        count: how many are tried at once, and chosen in the end.
        rounds: of trials; without any the first are chosen.
        success: of the candidates at these positions (int64), in the round of this number: float.

    Returns:
        Their positions, int64, `count` or all there are, the best first.
    """
    worth, seen = torch.ones(total), torch.zeros(total, dtype=torch.bool)
    for number in range(rounds):
        tried = _first(worth, count)
        seen[tried] = True
        worth[tried] = found = success(tried, number)
        worth[~seen] = found.median()
    return _first(worth, count)


def success(
    attack: Attack,
    context: AttackContext,
    state: State,
    stamps: Iterable[Callable[[Tensor], Tensor]],
    number: int,
) -> Tensor:
    """How often each stamp takes images to their target, of a victim that is trained for it.

    The victim is trained on the run's plan, but for the images that it is then tried on: some that
    are not planned.

    Args:
        attack: whose trigger is tried out.
        context: with the plan.
        state: of the trigger that the victim is trained under.
        stamps: each takes and gives uint8 images, N x C x H x W.
        number: of the trial.

    Returns:
        Float32 in [0, 1], one per stamp.
    """
    held = _held_out(attack, context)
    model = _victim(attack, context, state, held, number)
    shares = [inference.accuracy(model, stamp(held.images), held.labels) for stamp in stamps]
    return torch.tensor(shares).nan_to_num()  # Where no image was left to try them on.


def _held_out(attack: Attack, context: AttackContext) -> ImageSet:
    """Training images that are not planned, under the labels that their triggers ask for."""
    assert context.plan is not None
    train = context.train.to("cpu")
    rng = seeds.numpy_generator(context.seed, "attack", attack.name, "held out")
    targets = attack.test_targets(train.labels.numpy(), rng, context.data.num_classes)
    free = np.flatnonzero((targets != NOT_TESTED) & ~np.isin(train.ids, context.plan.ids))
    chosen = np.sort(rng.permutation(free)[:_HELD])
    return ImageSet(train.images[chosen], torch.from_numpy(targets[chosen]), train.ids[chosen])


def _victim(
    attack: Attack, context: AttackContext, state: State, held: ImageSet, number: int
) -> Classifier:
    plan = context.plan
    assert plan is not None
    clean = context.samples(plan.ids).to("cpu")
    images = attack.stamp(clean.images, state, role="poison", ids=plan.ids, targets=plan.labels)
    data = context.train.replaced(plan.ids, plan.labels, images)
    model = context.build_model(attack.name, number)
    kept = ~torch.isin(data.ids, held.ids.to(data.ids.device))
    context.fit(model, data[kept], context.recipe, what=f"{attack.name} {number}")
    return model


def _first(worth: Tensor, count: int) -> Tensor:
    return worth.argsort(descending=True, stable=True)[:count]
