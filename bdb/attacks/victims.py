"""Training a victim: on a poisoned set, or under an attacker who controls the training."""

from __future__ import annotations

from dataclasses import dataclass

from bdb.attacks import poisoning
from bdb.attacks.base import Attack, AttackContext
from bdb.attacks.poisoning import Poison
from bdb.datasets.base import ImageSet
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.training import device as devices
from bdb.training import loop, seeds
from bdb.training.loop import EpochRecord


@dataclass(frozen=True)
class Victim:
    """A trained victim, how its training went, and the poison that it carries."""

    model: Classifier
    history: list[EpochRecord]
    poison: Poison


def make_poison(attack: Attack, ratio: float, context: AttackContext, test: ImageSet) -> Poison:
    """Everything that a data-poisoning attack does; `context` needs no plan yet.

    Raises:
        ParamsError: the attack cannot poison that much of this data set.
    """
    context = planned(attack, ratio, context)
    state = attack.prepare_trigger(context)
    return poisoning.complete(attack, context, state, test)


def planned(attack: Attack, ratio: float, context: AttackContext) -> AttackContext:
    """The same context, with the attack's plan in it."""
    plan = poisoning.make_plan(attack, ratio, context)
    return AttackContext(**{**context.__dict__, "plan": plan})


def train(
    attack: Attack,
    context: AttackContext,
    spec: ModelSpec,
    test: ImageSet,
    poison: Poison | None = None,
) -> Victim:
    """Train a victim with the context's recipe.

    Args:
        attack: for the controller, if it controls the training.
        context: with the plan.
        spec: of the victim.
        test: the clean test set, to stamp once a learned trigger is known.
        poison: of a data-poisoning attack; a training-controlled one makes its own.
    """
    model = models.build(spec, seeds.derive(context.seed, "train", "weights"))
    devices.place(model, context.device)
    if not attack.controls_training:
        assert poison is not None
        history = _fit(model, poison.apply(context.train), context, loop.cross_entropy, None)
        return Victim(model, history, poison)
    assert context.plan is not None
    controller = attack.begin(context)
    data = context.train.replaced(context.plan.ids, context.plan.labels)
    history = _fit(model, data, context, controller.step, controller.epoch_end)
    poison = poisoning.complete(attack, context, controller.state(), test)
    return Victim(model, history, poison)


def _fit(
    model: Classifier,
    data: ImageSet,
    context: AttackContext,
    step: loop.Step,
    epoch_end: loop.EpochEnd | None,
) -> list[EpochRecord]:
    return loop.fit(
        model,
        data,
        context.recipe,
        seed=seeds.derive(context.seed, "train", "fit"),
        step=step,
        augmentation=context.data.augmentation,
        epoch_end=epoch_end,
    )
