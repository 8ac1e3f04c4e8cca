"""Clean models that are trained in ways of their own."""

from dataclasses import replace
from typing import Any

import torch

from bdb.attacks import victims
from bdb.attacks.none import NoAttack
from bdb.datasets.augmentation import Augmentation
from bdb.models.base import ModelSpec
from bdb.testing import digits, lab, make_context
from bdb.training import adversarial, loop, seeds
from bdb.training.recipes import Recipe

RECIPE = Recipe(epochs=4, batch_size=64, lr=0.05)


def test_by_default_nothing_departs_from_the_recipe() -> None:
    usual = NoAttack()
    assert not usual.departs
    assert usual.recipe(RECIPE) == RECIPE
    assert usual.augmentation(Augmentation()) == Augmentation()
    assert usual.objective() is loop.cross_entropy


def test_each_field_changes_what_it_says() -> None:
    assert NoAttack(epochs=9).recipe(RECIPE).epochs == 9
    assert NoAttack(crop_padding=0).recipe(RECIPE).crop_padding == 0
    assert NoAttack(rotation=15).augmentation(Augmentation(flip=True)) == Augmentation(
        flip=True, rotation=15
    )
    assert NoAttack(eps=8).objective() is not loop.cross_entropy
    changes: tuple[dict[str, Any], ...] = ({"epochs": 9}, {"crop_padding": 0}, {"rotation": 1})
    assert all(NoAttack(**fields).departs for fields in (*changes, {"eps": 8}))


def trained(**fields: Any) -> victims.Victim:
    context, _ = make_context(size=400, recipe=RECIPE)
    spec = ModelSpec(architecture="convnet", data=context.data, fields={"width": 8})
    context = replace(context, spec=spec)
    attack = NoAttack(**fields)
    poison = victims.make_poison(attack, 0.0, context, digits().test)
    return victims.train(attack, context, spec, digits().test, poison)


def test_it_is_trained_for_as_long_as_asked() -> None:
    assert len(trained(epochs=2).history) == 2


def test_adversarial_training_makes_it_robust() -> None:
    test = lab("none", 0.0).test
    images, labels = loop.to_float(test.images), test.labels
    start = 2 * torch.rand(images.shape, generator=seeds.generator(0)) - 1
    accuracies = []
    for fields in ({}, {"eps": 16, "steps": 3}):
        model = trained(**fields).model
        worst = adversarial.search(model, images, labels, 16 / 255, 5, start)
        with torch.no_grad():
            accuracies.append(float((model(worst).argmax(1) == labels).float().mean()))
    assert accuracies[1] > accuracies[0] + 0.1
