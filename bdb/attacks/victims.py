"""Training a victim: on a poisoned set, or under an attacker who controls the training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from bdb.attacks import poisoning
from bdb.attacks.base import Attack, AttackContext, ModelEditing
from bdb.attacks.imported import Imported
from bdb.attacks.poisoning import Poison
from bdb.attacks.redraw import Redraw
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.training import device as devices
from bdb.training import loop, seeds
from bdb.training.loop import EpochRecord


@dataclass(frozen=True)
class Victim:
    """A trained victim, how its training went, and the poison that it carries.

    Attributes:
        facts: what else is known of where it comes from, or is not what the grid says.
    """

    model: Classifier
    history: list[EpochRecord]
    poison: Poison
    facts: dict[str, Any] = field(default_factory=dict)


def make_poison(attack: Attack, ratio: float, context: AttackContext, test: ImageSet) -> Poison:
    """Everything that a data-poisoning attack does; `context` needs no plan yet.

    Raises:
        ParamsError: the attack cannot poison that much of this data set.
    """
    if isinstance(attack, Imported):
        return attack.poison(context, test)
    context = planned(attack, ratio, context)
    state = context.trigger if attack.shares_trigger else attack.prepare_trigger(context)
    return poisoning.complete(attack, context, state, test)


def planned(attack: Attack, ratio: float, context: AttackContext) -> AttackContext:
    """The same context, with the attack's plan in it.

    Raises:
        ParamsError: the attack cannot poison that much of this data set, or its trigger does not
            fit into the images.
    """
    attack.check_size(context.data)
    plan = poisoning.make_plan(attack, ratio, context)
    return replace(context, plan=plan)


def train(
    attack: Attack,
    context: AttackContext,
    spec: ModelSpec,
    test: ImageSet,
    poison: Poison | None = None,
    trained_as: Attack | None = None,
) -> Victim:
    """Train a victim with the context's recipe.

    Args:
        attack: for the controller, if it controls the training.
        context: with the plan.
        spec: of the victim.
        test: the clean test set, to stamp once a learned trigger is known.
        poison: of a data-poisoning attack; a training-controlled one makes its own.
        trained_as: the attack whose recipe and augmentation a control has; its own by default.
    """
    if isinstance(attack, ModelEditing):
        assert poison is not None
        copy = models.duplicate(context.clean_model).eval()
        return Victim(attack.edit(copy, context).eval(), [], poison)
    if isinstance(attack, Imported):
        assert poison is not None
        unknown = dict.fromkeys(("recipe", "augmentation"))
        facts = {**unknown, "imported": attack.manifest()}
        return Victim(attack.victim(spec, context.device), [], poison, facts)
    model = models.build(spec, seeds.derive(context.seed, "train", "weights"))
    devices.place(model, context.device)
    if attack.controls_training:
        return _under_control(attack, context, model, test)
    assert poison is not None
    data = poison.apply(context.train)
    trainer = trained_as or attack
    history = _fit(trainer, model, data, context, trainer.objective(), None)
    return Victim(model, history, poison)


def _under_control(
    attack: Attack, context: AttackContext, model: Classifier, test: ImageSet
) -> Victim:
    """Let the attacker train, and complete the poison with what it learned."""
    assert context.plan is not None
    controller = attack.begin(context)
    redraw = Redraw(attack, context, controller) if attack.redraws else None
    data = context.train.replaced(context.plan.ids, context.plan.labels)
    data, step = (context.train, redraw.step) if redraw else (data, controller.step)
    controller.attach(model)
    try:
        history = _fit(attack, model, data, context, step, controller.epoch_end)
    finally:
        controller.detach(model)
    if redraw:
        context = replace(context, plan=redraw.plan())
        controller.context = context
    poison = poisoning.complete(attack, context, controller.state(), test)
    return Victim(model, history, poison)


def _fit(
    attack: Attack,
    model: Classifier,
    data: ImageSet,
    context: AttackContext,
    step: loop.Step,
    epoch_end: loop.EpochEnd | None,
) -> list[EpochRecord]:
    recipe, of_data = attack.recipe(context.recipe), context.data.augmentation
    if not recipe.augment:  # Speaks of the data set's: what the attack brings belongs to it.
        of_data = Augmentation()
        recipe = recipe.model_copy(update={"augment": True, "crop_padding": None})
    return loop.fit(
        model,
        data,
        recipe,
        seed=seeds.derive(context.seed, "train", "fit"),
        step=step,
        augmentation=attack.augmentation(of_data),
        epoch_end=epoch_end,
    )
