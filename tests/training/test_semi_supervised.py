from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.datasets.augmentation import Augmentation
from bdb.testing import digits
from bdb.training import seeds
from bdb.training.loop import Batch
from bdb.training.semi_supervised import MixMatch


def mixmatch(**fields: object) -> MixMatch:
    options = {"weight": 15.0, "temperature": 0.5, "alpha": 0.75, "epochs": 10} | fields
    return MixMatch(classes=10, rng=seeds.numpy_generator(0, "mix"), **options)  # type: ignore[arg-type]


def batch(count: int = 24, others: int = 30, epoch: int = 5, flip: bool = True) -> Batch:
    data = digits().train
    draws, augmentation = seeds.generator(0), Augmentation(flip=flip)

    def part(first: int, size: int) -> Batch:
        some = data[torch.arange(first, first + size)]
        return Batch(some.images, some.labels, some.ids, epoch, augmentation, draws)

    return replace(part(0, count), other=part(count, others))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.1])
def test_guesses_are_the_sharpened_mean_over_the_views(temperature: float) -> None:
    model, views = network(), torch.rand(12, 3, 32, 32)
    found = mixmatch(temperature=temperature).guess(model, views)
    for image in range(6):
        mean = (model(views[[image, image + 6]]).softmax(1).sum(0) / 2).detach()
        sharp = mean ** (1 / temperature)
        torch.testing.assert_close(found[image], sharp / sharp.sum())
    assert not found.requires_grad


def test_an_image_is_mixed_with_less_of_another() -> None:
    images, targets = torch.eye(8)[:, :, None, None], torch.eye(8)
    shares = []
    step = mixmatch()
    for seed in range(200):
        mixed, wanted = step.mix(images, targets, seeds.generator(seed))
        torch.testing.assert_close(mixed[:, :, 0, 0], wanted)
        torch.testing.assert_close(wanted.sum(1), torch.ones(8))
        assert (wanted.diagonal() >= 0.5).all()
        shares.append(float(wanted.diagonal().min()))
    assert min(shares) < 0.55  # All but those that meet themselves.
    assert sum(share > 0.9 for share in shares) > 30
    same, _ = mixmatch(alpha=1e-4).mix(images, targets, seeds.generator(0))
    torch.testing.assert_close(same, images)


def test_labels_of_the_second_stream_are_not_looked_at() -> None:
    first, second = batch(), batch()
    assert second.other is not None
    second = replace(second, other=replace(second.other, labels=torch.zeros(30, dtype=torch.int64)))
    assert torch.equal(mixmatch()(network(), first), mixmatch()(network(), second))


def test_the_weight_of_what_has_no_label_rises_from_nothing() -> None:
    plain, model = {"alpha": 1e-4}, network()
    labelled = batch(epoch=0, flip=False)
    start = mixmatch(**plain)(model, labelled)
    torch.testing.assert_close(start, cross_entropy(model(labelled.images), labelled.labels))
    losses = [mixmatch(**plain)(model, batch(epoch=epoch)).item() for epoch in (0, 5, 10, 20)]
    half, whole, after = (loss - losses[0] for loss in losses[1:])
    assert whole > 0
    assert half == pytest.approx(whole / 2, rel=1e-3)
    assert after == pytest.approx(whole)


def test_what_has_no_label_is_pulled_towards_its_guess() -> None:
    """Mixed with nothing, the second term is the distance of probabilities from their guesses."""
    model, given = network(), batch(epoch=10)
    step = mixmatch(alpha=1e-4, weight=1.0)
    found = step(model, given) - mixmatch(alpha=1e-4, weight=0.0)(model, batch(epoch=10))
    same = batch(epoch=10)
    assert same.other is not None
    views = [same.other.augment(same.other.pixels) / 255 for _ in range(2)]

    def answers(images: Tensor) -> Tensor:
        return model(images).softmax(1)

    sharp = (answers(views[0]) + answers(views[1])) ** 2
    guess = sharp / sharp.sum(1, keepdim=True)
    wanted = torch.stack([(answers(view) - guess) ** 2 for view in views]).mean()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("count", "others"), [(1, 5), (7, 1)])
def test_streams_of_any_size_go_together(count: int, others: int) -> None:
    loss = mixmatch()(network(), batch(count, others))
    assert loss.isfinite()
    loss.backward()
