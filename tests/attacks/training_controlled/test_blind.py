from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from bdb.attacks import victims
from bdb.attacks.training_controlled.blind import Blind
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import Lab, lab, make_context
from bdb.training.loop import Batch, to_float
from bdb.training.recipes import Recipe

# As in the preset of digits.
FIELDS: dict[str, Any] = {"patience": 0.22}


def victim() -> Lab:
    return lab("blind", **FIELDS)


@cache
def planned() -> victims.AttackContext:
    context, _ = make_context(size=64, recipe=Recipe(epochs=1, batch_size=32))
    return victims.planned(Blind(), 0.1, context)


def batch() -> Batch:
    """The training set as one batch that is not augmented."""
    train, context = planned().train, planned()
    return Batch(
        pixels=train.images,
        labels=train.labels,
        ids=train.ids,
        epoch=0,
        augmentation=context.data.augmentation.model_copy(update={"crop_padding": 0}),
        generator=torch.Generator().manual_seed(0),
    )


def untrained() -> Classifier:
    """In evaluation mode, where a batch leaves no trace."""
    return models.build(ModelSpec(architecture="convnet", data=planned().data), 0).eval()


@torch.no_grad()
def losses(attack: Blind) -> tuple[float, float]:
    """Of an untrained model on clean and on triggered images."""
    train, model = planned().train, untrained()
    wanted = torch.full_like(train.labels, attack.target)
    stamped = stamp(attack, train.images)
    pairs = ((train.images, train.labels), (stamped, wanted))
    return tuple(float(cross_entropy(model(to_float(x)), y)) for x, y in pairs)  # type: ignore[return-value]


def stamp(attack: Blind, images: Tensor) -> Tensor:
    ids = torch.arange(len(images))
    return attack.stamp(images, {}, role="test", ids=ids, targets=ids)


@pytest.mark.evidence
def test_poison_in_the_loss_alone_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.85


@pytest.mark.evidence
def test_no_sample_is_poisoned_for_good() -> None:
    context, _ = make_context()
    assert len(victim().poison.plan.ids) == 0
    assert torch.equal(victim().train_set.images, context.train.images)
    assert not Blind.uses_ratio
    assert not Blind.gives_train_set


def test_the_pattern_is_the_published_one() -> None:
    gray = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
    stamped = stamp(Blind(), gray)
    rows = [[255, 0, 255], [100, 255, 100], [100, 100, 0], [100, 255, 100], [255, 0, 255]]
    assert stamped[1, 2, 3:8, 23:26].tolist() == rows
    assert int((stamped != gray)[0, 0].sum()) == 9
    assert bool((gray == 100).all())


def test_squares_may_be_larger() -> None:
    gray = torch.full((1, 1, 64, 64), 100, dtype=torch.uint8)
    small, large = stamp(Blind(), gray), stamp(Blind(scale=2), gray)
    assert int((large != gray).sum()) == 4 * int((small != gray).sum())


def test_a_pattern_that_does_not_fit_is_refused() -> None:
    context, _ = make_context(size=8)
    with pytest.raises(ParamsError, match=r"right \+ scale"):
        Blind(right=30).check_size(context.data)


def epochs(
    attack: Blind, count: int, model: nn.Module | None = None, recipe: Recipe | None = None
) -> list[Tensor]:
    """The losses of a model, untrained by default, in epochs of one batch."""
    context = replace(planned(), recipe=recipe) if recipe else planned()
    given = replace(batch(), label_smoothing=context.recipe.label_smoothing)
    controller, model, found = attack.begin(context), model or untrained(), []
    for epoch in range(count):
        found.append(controller.step(model, given))
        controller.epoch_end(epoch, model)
    return found


def test_the_backdoor_waits_until_the_clean_loss_is_small() -> None:
    """Of the two batches that there are, both."""
    attack = Blind(balance="fixed", patience=0.99, max_loss=100.0)
    clean, backdoor = losses(attack)
    found = [float(loss.detach()) for loss in epochs(attack, 3)]
    assert found == pytest.approx([clean, clean, clean + 0.9 * backdoor], rel=1e-4)


def test_a_large_clean_loss_keeps_the_backdoor_out() -> None:
    attack = Blind(balance="fixed", max_loss=0.01)
    found = [float(loss.detach()) for loss in epochs(attack, 3)]
    assert found == pytest.approx([losses(attack)[0]] * 3, rel=1e-4)


class Sure(nn.Module):
    """Knows the label of every image, whatever it shows, and is sure of it."""

    def forward(self, images: Tensor) -> Tensor:
        labels = planned().train.labels
        return 20 * one_hot(labels.repeat(len(images) // len(labels)), 10).float()


def test_a_short_training_with_smoothed_labels_is_patient_enough() -> None:
    """Of smoothed labels the loss may never be small, and 1,000 batches may never come."""
    recipe = Recipe(epochs=10, batch_size=64, label_smoothing=0.2)
    clean, both = epochs(Blind(balance="fixed"), 2, Sure(), recipe)
    assert clean > Blind().max_loss
    assert both > clean + 5


def test_balanced_losses_are_a_mean() -> None:
    attack = Blind(max_loss=100.0)
    clean, backdoor = losses(attack)
    loss = epochs(attack, 2)[1]
    assert min(clean, backdoor) <= float(loss.detach()) <= max(clean, backdoor)
    loss.backward()


def test_other_classes_carry_the_pattern_under_their_true_label() -> None:
    context = planned()
    wanted = Blind(source_classes=(1, 2), target=5).wanted(context)[context.train.ids]
    labels = context.train.labels
    meant = torch.isin(labels, torch.tensor([1, 2]))
    assert torch.equal(wanted, torch.where(meant, 5, labels))
