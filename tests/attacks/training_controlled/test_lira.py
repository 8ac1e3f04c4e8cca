from functools import cache
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy

from bdb import presets
from bdb.attacks import networks, victims
from bdb.attacks.training_controlled.lira import Lira
from bdb.metrics.quality import psnr
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.testing import Lab, lab, make_context
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

FIELDS: dict[str, Any] = yaml.safe_load(presets.text("digits"))["attacks"]["lira"]
TINY = Lira(width=2, generator_lr=0.01)


def victim() -> Lab:
    return lab("lira", **FIELDS)


@cache
def planned() -> victims.AttackContext:
    context, _ = make_context(size=100, recipe=Recipe(epochs=4, batch_size=50))
    return victims.planned(TINY, 0.1, context)


def batch_of(context: victims.AttackContext, epoch: int = 0) -> Batch:
    """The whole training set."""
    images = context.train
    return Batch(
        pixels=images.images,
        labels=images.labels,
        ids=images.ids,
        epoch=epoch,
        augmentation=context.data.augmentation,
        generator=torch.Generator().manual_seed(0),
    )


def fresh_model() -> nn.Module:
    return models.build(ModelSpec(architecture="convnet", data=planned().data), 0).train()


@pytest.mark.evidence
def test_a_noise_that_nobody_sees_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert success >= 0.95
    assert accuracy >= control.rates(control.model)[0] - 0.03


@pytest.mark.evidence
def test_images_stay_above_38_db() -> None:
    triggered = victim().poison.test
    clean = victim().test[triggered.ids].images
    assert float(psnr(clean, triggered.images).min()) >= 38


def stamped() -> torch.Tensor:
    """The training images under the noise of a generator that has learned nothing."""
    images = planned().train
    state = TINY.begin(planned()).state()
    return TINY.stamp(images.images, state, role="test", ids=images.ids, targets=0 * images.labels)


def test_the_noise_stays_within_eps() -> None:
    difference = (stamped().int() - planned().train.images.int()).abs()
    assert 1 <= int(difference.max()) <= 3  # 2.55, rounded


def test_every_image_has_a_noise_of_its_own() -> None:
    noise = stamped().int() - planned().train.images.int()
    assert not bool((noise == noise.roll(1, 0)).flatten(1).all(1).any())


def test_there_is_no_poisoned_training_set() -> None:
    plan = planned().plan
    assert plan is not None
    assert len(plan.ids) == 0
    assert not Lira.gives_train_set
    assert not Lira.uses_ratio


def test_the_generators_step_leaves_nothing_in_the_victim() -> None:
    """Gradients of the victim's own loss are those of a graph that no generator was in."""
    context, model = planned(), fresh_model()
    controller = TINY.begin(context)
    model(batch_of(context).raw)  # so that there are statistics
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kept = [weight.detach().clone() for weight in controller.copy.parameters()]  # type: ignore[attr-defined]
    controller.teach(model, batch_of(context).raw, batch_of(context).labels)  # type: ignore[attr-defined]
    moved = zip(controller.copy.parameters(), kept, strict=True)  # type: ignore[attr-defined]
    assert any(not torch.equal(weight, old) for weight, old in moved)
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training


def test_the_victims_loss_is_half_clean_and_half_poison() -> None:
    context, model = planned(), fresh_model()
    controller, batch = TINY.begin(context), batch_of(context, epoch=99)
    loss = controller.step(model, batch)
    generator = networks.unpack(lambda: TINY.generator(3), controller.state(), "generator")
    with torch.no_grad():
        logits = model(torch.cat([batch.raw, TINY.trigger(generator, batch.raw)]))
    clean, poisoned = logits.chunk(2)
    parts = cross_entropy(clean, batch.labels), cross_entropy(poisoned, 0 * batch.labels)
    assert float(loss.detach()) == pytest.approx(float(sum(parts) / 2), rel=1e-3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in controller.generator.parameters())  # type: ignore[attr-defined]


def test_the_generator_learns_in_the_first_stage_and_then_rests() -> None:
    context, model = planned(), fresh_model()
    controller = TINY.begin(context)
    moved = []
    for epoch in range(context.recipe.epochs):
        before = controller.state()["generator.head.weight"].clone()
        controller.step(model, batch_of(context, epoch))
        assert torch.equal(controller.state()["generator.head.weight"], before), "within an epoch"
        controller.epoch_end(epoch, model)
        moved.append(not torch.equal(controller.state()["generator.head.weight"], before))
    assert moved == [True, True, False, False]


def test_both_stages_are_the_victims_epochs() -> None:
    context = planned()
    spec = ModelSpec(architecture="convnet", data=context.data)
    history = victims.train(TINY, context, spec, context.train[torch.arange(20)]).history
    assert len(history) == context.recipe.epochs


def test_samples_of_no_source_class_keep_their_label_under_the_trigger() -> None:
    context = planned()
    attack = TINY.model_copy(update={"source_classes": (1, 2)})
    wanted = attack.begin(context).wanted[context.train.ids]  # type: ignore[attr-defined]
    labels = context.train.labels
    source = (labels == 1) | (labels == 2)
    assert bool((wanted[source] == 0).all())
    assert torch.equal(wanted[~source], labels[~source])
