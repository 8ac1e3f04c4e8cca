from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bdb.attacks import gradients
from bdb.attacks.data_poisoning.sleeper_agent import SleeperAgent
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.testing import Lab, lab, make_context, surrogate
from bdb.training import inference

RATIO = 0.08

Fields = Callable[[str], dict[str, Any]]


@pytest.fixture
def victim(on_digits: Fields) -> Lab:
    return lab("sleeper_agent", RATIO, **on_digits("sleeper_agent"))


def originals(found: Lab) -> Tensor:
    context, _ = make_context()
    return context.samples(found.poison.plan.ids).images


def test_a_patch_that_no_training_image_shows_is_a_backdoor(victim: Lab) -> None:
    clean, triggered = lab("none", 0.0), victim.poison.test
    accuracy, _ = victim.rates(victim.model)
    assert accuracy >= clean.rates(clean.model)[0] - 0.03
    before, after = (
        inference.logits(each.model, triggered.images).argmax(1) == triggered.targets
        for each in (clean, victim)
    )
    assert float(after[triggered.is_source].float().mean()) >= 0.7
    assert float(before[triggered.is_source].float().mean()) <= 0.1


def test_poisons_stay_within_eps_and_keep_their_labels(victim: Lab) -> None:
    change = (victim.poison.images.int() - originals(victim).int()).abs()
    assert 45 <= int(change.max()) <= 48
    plan, truth = victim.poison.plan, make_context()[0].samples(victim.poison.plan.ids)
    assert torch.equal(plan.labels, truth.labels)
    assert set(plan.labels.tolist()) == {3}
    assert len(plan.ids) == round(RATIO * len(victim.train_set))


def test_no_poison_holds_the_trigger(victim: Lab) -> None:
    """Wherever the patch would lie, a poison is far from it."""
    patch = victim.poison.state["patch"].float()
    windows = victim.poison.images.float().unfold(2, 12, 1).unfold(3, 12, 1)
    distance = (windows - patch[None, :, None, None]).abs().mean((1, 4, 5))
    assert float(distance.min()) > 60


def test_the_patch_lies_somewhere_else_on_each_image() -> None:
    attack, (context, _) = SleeperAgent(), make_context(size=200)
    state = attack.prepare_trigger(context)
    images, ids = context.train.images, context.train.ids
    stamped = attack.stamp(images, state, role="test", ids=ids, targets=ids)
    changed = (stamped != images).any(1)
    rows, columns = changed.any(2), changed.any(1)
    assert int(rows.sum(1).max()) == int(columns.sum(1).max()) == 8
    assert len(rows.float().argmax(1).unique()) > 15
    windows = stamped.unfold(2, 8, 1).unfold(3, 8, 1)
    shown = (windows == state["patch"][None, :, None, None]).flatten(4).all(4).all(1)
    assert bool(shown.flatten(1).any(1).all())


def test_those_with_the_longest_gradients_are_poisoned(victim: Lab) -> None:
    context, _ = make_context()
    norms = gradients.norms(surrogate(SleeperAgent.surrogates["clean"]), context.train)
    chosen = torch.isin(context.train.ids, victim.poison.plan.ids)
    spared = (context.train.labels == 3) & ~chosen
    assert norms[chosen].min() >= norms[spared].max()


def test_without_a_source_image_it_is_one_line() -> None:
    context, _ = make_context(size=100)
    context = replace(context, train=context.train[context.train.labels != 1])
    with pytest.raises(ParamsError, match=r"sleeper_agent\.source_classes: no training image"):
        SleeperAgent()._sources(context, SleeperAgent().prepare_trigger(context))


class Linear(nn.Module):
    """A model whose gradient is known."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits


def samples(count: int) -> ImageSet:
    draws = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 1, 2, 2), generator=draws).byte()
    return ImageSet.whole(images, torch.arange(count) % 3)


def test_the_gradient_of_many_is_the_mean() -> None:
    model, data = Linear(), samples(1100)
    loss = nn.functional.cross_entropy(model(data.images / 255), data.labels)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    for found, wanted in zip(gradients.mean(model, data), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_the_norm_is_that_of_the_last_layer() -> None:
    context, _ = make_context(size=3)
    model = surrogate(SleeperAgent.surrogates["clean"])
    head = [model.head.weight, model.head.bias]
    norms = gradients.norms(model, context.train)
    for i in range(3):
        one = context.train[torch.tensor([i])]
        loss = nn.functional.cross_entropy(model(one.images / 255), one.labels)
        slopes = torch.autograd.grad(loss, head)
        expected = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
        torch.testing.assert_close(norms[i], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("batch_size", [4, 100])
def test_the_search_comes_nearer_to_the_goal_within_its_bounds(batch_size: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Linear()
    poisons, goal = samples(12), gradients.mean(model, samples(30))
    search = gradients.Matching(poisons, eps=40, lr=0.2, steps=30, seed=0)

    def distance() -> float:
        images = search.found().images / 255
        return float(gradients.distance(model, images, poisons.labels, goal).detach())

    before = distance()
    for _ in range(30):
        search.step(model, goal, batch_size, lambda images, _: images, torch.Generator())
    assert distance() < before - 0.01
    assert int((search.found().images.int() - poisons.images.int()).abs().max()) <= 40
