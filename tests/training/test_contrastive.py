from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from bdb.datasets.augmentation import Augmentation
from bdb.models import base as models
from bdb.testing import Lab
from bdb.training import contrastive, inference, loop, seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


def points(count: int, dimensions: int = 6) -> Tensor:
    return normalize(torch.randn(count, dimensions, generator=seeds.generator(0)), dim=1)


def published(where: Tensor, labels: Tensor, temperature: float) -> float:
    """Khosla et al., equation 2, term by term."""
    total = 0.0
    for i in range(len(where)):
        others = [a for a in range(len(where)) if a != i]
        alike = [p for p in others if labels[p] == labels[i]]
        below = sum(torch.exp(where[i] @ where[a] / temperature) for a in others)
        terms = [torch.log(torch.exp(where[i] @ where[p] / temperature) / below) for p in alike]
        total -= float(sum(terms)) / len(alike)
    return total / len(where)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1, 0], [5, 5, 5, 5]])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_loss_is_the_published_one(labels: list[int], temperature: float) -> None:
    where, given = points(8), torch.tensor(labels).repeat(2)
    found = contrastive.loss(where, given, temperature)
    assert float(found) == pytest.approx(published(where, given, temperature), rel=1e-4)


def test_views_that_agree_and_stand_apart_cost_nothing() -> None:
    where = torch.eye(4).repeat(2, 1)
    assert contrastive.loss(where, torch.arange(4).repeat(2), 0.05) < 1e-6
    assert contrastive.loss(where, torch.tensor([0, 0, 1, 1]).repeat(2), 0.05) > 1


def test_the_gradient_is_finite_for_a_single_image_and_for_images_all_alike() -> None:
    for where, labels in ((points(2), [0, 0]), (torch.ones(6, 4) / 2, [0, 1, 2, 0, 1, 2])):
        where.requires_grad_()
        contrastive.loss(where, torch.tensor(labels), 0.1).backward()
        assert where.grad is not None
        assert where.grad.isfinite().all()


@pytest.mark.parametrize("flip", [False, True])
def test_views_are_mirrored_where_the_data_set_is(flip: bool) -> None:
    made = contrastive.strong(Augmentation(flip=flip, crop_padding=4), 0.4)
    assert (made.flip, made.least_area, made.crop_padding) == (flip, 0.4, 0)


def test_each_chosen_image_gets_a_label_that_no_other_has(badnets: Lab) -> None:
    data = badnets.train_set[torch.arange(50)]
    assert len(contrastive.alone(data).labels.unique()) == 50
    chosen = torch.arange(50) % 2 == 0
    some = contrastive.alone(data, chosen)
    assert torch.equal(some.labels[~chosen], data.labels[~chosen])
    assert len(some.labels[chosen].unique()) == 25
    assert not torch.isin(some.labels[chosen], data.labels).any()


def fit(victim: Lab, supervised: bool = False) -> models.Classifier:
    model = models.build(victim.spec.model_copy(update={"fields": {"width": 8}}), 0)
    head = model.head.weight.clone()
    network = contrastive.Projected(model, 16, seed=0)
    data = victim.train_set[torch.arange(256)]
    step = contrastive.Contrast(contrastive.strong(victim.spec.data.augmentation, 0.5), 0.5)
    recipe = Recipe(epochs=6, batch_size=64, lr=0.1)
    loop.fit(network, data if supervised else contrastive.alone(data), recipe, seed=0, step=step)
    assert torch.equal(model.head.weight, head)
    return model


def likeness(model: models.Classifier, images: Tensor, others: Tensor) -> float:
    found = (inference.features(model, each) for each in (images, others))
    centred = [each - each.mean(0) for each in found]
    return float(cosine_similarity(*centred).mean())


def test_views_of_an_image_come_together(badnets: Lab) -> None:
    images = badnets.test.images[:100]
    moved = contrastive.strong(Augmentation(), 0.5)(images, seeds.generator(1))
    fresh = models.build(badnets.spec.model_copy(update={"fields": {"width": 8}}), 0).eval()
    trained = fit(badnets)
    assert likeness(trained, images, moved) > likeness(fresh, images, moved) + 0.1
    assert likeness(trained, images, moved) > likeness(trained, images, moved.roll(1, 0)) + 0.3


def test_no_label_is_looked_at(badnets: Lab) -> None:
    data = badnets.train_set
    other = replace(badnets, train_set=replace(data, labels=(data.labels + 3) % 10))
    one, two = fit(badnets).state_dict(), fit(other).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_labels_bring_their_images_together(badnets: Lab) -> None:
    clean = badnets.clean_set
    threes, eights = (clean.images[clean.labels == label][:20] for label in (3, 8))

    def apart(model: models.Classifier) -> float:
        """How much more alike two threes are than a three and an eight."""
        found = inference.features(model, torch.cat([threes, eights]))
        three, eight = (found - found.mean(0)).split(20)
        same = cosine_similarity(three, three.roll(1, 0)).mean()
        return float(same - cosine_similarity(three, eight).mean())

    assert apart(fit(badnets, supervised=True)) > apart(fit(badnets)) + 0.1


def test_the_step_sees_two_views_of_each_image_in_turn(badnets: Lab) -> None:
    seen: list[Tensor] = []
    data = badnets.test[torch.arange(64)]
    batch = Batch(data.images, data.labels, data.ids, 0, Augmentation(), seeds.generator(0))

    class Eye(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return normalize(images.flatten(1), dim=1)

    augmentation = Augmentation(flip=True)
    contrastive.Contrast(augmentation, 0.5)(Eye(), batch)
    first, second = seen[0].chunk(2)
    for view in (first, second):
        assert ((view == batch.raw) | (view == batch.raw.flip(3))).flatten(1).all(1).all()
    assert not torch.equal(first, second)


def test_the_head_is_drawn_from_its_seed_alone(badnets: Lab) -> None:
    first, again, other = (
        contrastive.Projected(badnets.model, 16, seed).projection.state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])
