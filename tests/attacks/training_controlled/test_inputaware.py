from functools import cache
from pathlib import Path

import pytest
import torch

from bdb.attacks import poisoning, victims
from bdb.attacks.training_controlled.inputaware import InputAware
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.testing import Lab, lab, make_context
from bdb.training import inference, seeds
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


def batch_of(context: victims.AttackContext, mask: torch.Tensor | None = None) -> Batch:
    """The training set as one batch, or what of it is under the mask."""
    images = context.train if mask is None else context.train[mask]
    return Batch(
        pixels=images.images,
        labels=images.labels,
        ids=images.ids,
        epoch=0,
        augmentation=context.data.augmentation,
        generator=torch.Generator().manual_seed(0),
    )


def fresh_mask() -> torch.nn.Module:
    """Makes masks that do not depend on how the controller's was trained."""
    with seeds.isolated(0):
        return TINY.generator("mask", 3)


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


@pytest.mark.evidence
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
    assert int(plan.is_cross.sum()) == pytest.approx(0.05 * int(plan.is_poison.sum()), abs=6)
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


def test_both_generators_have_adam_with_the_published_betas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[float, float]] = []
    adam = torch.optim.Adam.__init__

    def spy(self: torch.optim.Adam, *rest: object, **options: object) -> None:
        adam(self, *rest, **options)  # type: ignore[arg-type]
        made.append(self.defaults["betas"])

    monkeypatch.setattr(torch.optim.Adam, "__init__", spy)
    context, _ = make_context(size=60, recipe=Recipe(epochs=1, batch_size=30))
    attack = InputAware(width=4, mask_epochs=1)
    spec = ModelSpec(architecture="convnet", data=context.data)
    victims.train(attack, victims.planned(attack, 0.1, context), spec, context.train)
    assert made == [(0.5, 0.9)] * 2  # the mask's, then the pattern's


def test_gradients_of_the_generator_do_not_pile_up() -> None:
    context = planned()
    controller = TINY.begin(context)
    model = models.build(ModelSpec(architecture="convnet", data=context.data), 0)
    batch = batch_of(context)
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
    batch = batch_of(context, ~torch.isin(context.train.ids, context.plan.ids))
    images, diversity = TINY.begin(context)._trigger(batch)  # type: ignore[attr-defined]
    assert torch.equal(images, batch.raw)
    assert float(diversity) == 0


def test_the_generator_is_the_published_one() -> None:
    pattern = InputAware().generator("pattern", 3)
    assert sum(weights.numel() for weights in pattern.parameters()) == 723_273
    final = list(pattern.modules())[-2:]
    assert isinstance(final[0], torch.nn.Conv2d)
    assert isinstance(final[1], torch.nn.BatchNorm2d)


def test_the_mask_sees_how_far_normalised_images_are_apart() -> None:
    """Halving the data set's deviation doubles the distance of images, not that of masks."""
    context = planned()
    losses = []
    for std in (0.4, 0.2):
        data = context.data.model_copy(update={"std": (std,) * 3})
        attack = TINY.model_copy(update={"mask_weight": 0.0})
        given = victims.AttackContext(**{**context.__dict__, "data": data})
        controller = attack.begin(given)
        with torch.no_grad():
            loss = controller._mask_step(fresh_mask(), batch_of(context))  # type: ignore[attr-defined]
        losses.append(float(loss))
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 20, 40), (3, 30, 8), (3, 5, 5)])
def test_patterns_and_masks_fit_any_image(shape: tuple[int, int, int]) -> None:
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    pattern, mask = (TINY.generator(part, shape[0])(images) for part in ("pattern", "mask"))  # type: ignore[arg-type]
    assert pattern.shape == images.shape
    assert mask.shape == (4, 1, *shape[1:])
    for made in (mask, pattern):
        assert 0 <= float(made.detach().min()) <= float(made.detach().max()) <= 1


def test_patterns_of_one_channel_are_not_sharpened() -> None:
    assert not TINY.generator("pattern", 1).sharp
    assert TINY.generator("mask", 1).sharp
