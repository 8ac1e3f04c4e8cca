from functools import cache
from pathlib import Path

import torch

from bdb.attacks import poisoning, victims
from bdb.attacks.inputaware import Generator, InputAware
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.testing import Lab, lab, make_context
from bdb.training import inference
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

FIELDS = {"width": 8, "mask_epochs": 5, "mask_weight": 1.0, "lr": 0.005, "cross_ratio": 0.05}
TINY = InputAware(width=2, mask_epochs=1)


def victim() -> Lab:
    return lab("inputaware", **FIELDS)


@cache
def planned() -> victims.AttackContext:
    context, _ = make_context(size=200, recipe=Recipe(epochs=3, batch_size=50))
    return victims.planned(TINY, 0.1, context)


def crossed_test(victim: Lab) -> torch.Tensor:
    """The triggered test images, but each with the trigger of another image."""
    triggered = victim.poison.test
    clean = victim.test[triggered.ids]
    return victim.attack.stamp(
        clean.images,
        victim.poison.state,
        role="cover",
        ids=triggered.ids,
        targets=triggered.labels,
    )


def test_each_image_has_a_trigger_of_its_own() -> None:
    accuracy, success = victim().rates(victim().model)
    assert accuracy >= 0.97
    assert success >= 0.85


def test_the_trigger_of_another_image_works_less_often() -> None:
    """With as many cross samples as poison, as published; digits need few for a high ASR."""
    crossed = lab("inputaware", **FIELDS | {"cross_ratio": 1.0})
    triggered = crossed.poison.test
    own = inference.accuracy(crossed.model, triggered.images, triggered.targets)
    other = inference.accuracy(crossed.model, crossed_test(crossed), triggered.targets)
    assert other < own - 0.05


def test_cross_samples_are_not_poison() -> None:
    context, _ = make_context()
    plan = victim().poison.plan
    assert int(plan.is_cross.sum()) == round(0.05 * int(plan.is_poison.sum()))
    true = context.samples(plan.ids).labels
    assert torch.equal(plan.labels[plan.is_cross], true[plan.is_cross])
    assert int(victim().is_poison().sum()) == int(plan.is_poison.sum())


def test_no_cross_sample_carries_its_own_trigger() -> None:
    state, plan = victim().poison.state, victim().poison.plan
    context, _ = make_context()
    cross = context.samples(plan.ids[plan.is_cross]).images
    others = state["others"]
    assert not bool((cross[:, None] == others[None]).flatten(2).all(2).any())


def test_the_saved_generators_stamp_the_same_pixels(tmp_path: Path) -> None:
    poisoning.save(tmp_path / "poison.safetensors", victim().poison)
    state = poisoning.load(tmp_path / "poison.safetensors").state
    triggered = victim().poison.test
    clean = victim().test[triggered.ids]
    again = victim().attack.stamp(
        clean.images, state, role="test", ids=triggered.ids, targets=triggered.targets
    )
    assert torch.equal(again, triggered.images)


def test_the_mask_takes_none_of_the_victims_epochs() -> None:
    context = planned()
    spec = ModelSpec(architecture="convnet", data=context.data)
    test = make_context()[0].train[torch.arange(20)]
    history = victims.train(TINY, context, spec, test).history
    assert len(history) == context.recipe.epochs


def test_gradients_of_the_generator_do_not_pile_up() -> None:
    context = planned()
    controller = TINY.begin(context)
    model = models.build(ModelSpec(architecture="convnet", data=context.data), 0)
    batch = Batch(
        pixels=context.train.images,
        labels=context.train.labels,
        ids=context.train.ids,
        epoch=0,
        augmentation=context.data.augmentation,
        generator=torch.Generator().manual_seed(0),
    )
    weights = list(controller.pattern.parameters())  # type: ignore[attr-defined]
    before = [weight.detach().clone() for weight in weights]
    controller.step(model, batch).backward()
    assert any(weight.grad is not None and bool(weight.grad.any()) for weight in weights)
    controller.step(model, batch)
    assert all(weight.grad is None for weight in weights)
    moved = zip(before, weights, strict=True)
    assert any(not torch.equal(old, weight) for old, weight in moved)


def test_a_batch_without_planned_samples_is_left_alone() -> None:
    context = planned()
    assert context.plan is not None
    free = context.train[~torch.isin(context.train.ids, context.plan.ids)]
    batch = Batch(
        pixels=free.images,
        labels=free.labels,
        ids=free.ids,
        epoch=0,
        augmentation=context.data.augmentation,
        generator=torch.Generator().manual_seed(0),
    )
    images, diversity = TINY.begin(context)._trigger(batch)  # type: ignore[attr-defined]
    assert torch.equal(images, batch.raw)
    assert float(diversity) == 0


def test_generators_take_any_size() -> None:
    images = torch.rand(2, 1, 28, 30, generator=torch.Generator().manual_seed(0))
    mask, pattern = Generator(1, 1, 2)(images), Generator(1, 3, 2)(images)
    assert mask.shape == images.shape
    assert pattern.shape == (2, 3, 28, 30)
    for made in (mask, pattern):
        assert 0 <= float(made.detach().min()) <= float(made.detach().max()) <= 1
