from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import DataSpec
from bdb.defenses.post_training.i_bau import ImplicitBackdoorUnlearning, Perturbed
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training.loop import Batch

# As in the preset of digits.
STRENGTH: dict[str, Any] = {"rounds": 20, "batch_size": 32, "lr": 0.001, "search_epochs": 2}


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("attack", "fields"),
    [("badnets", {}), ("blended", {}), ("wanet", {"strength": 2.0, "noise": 4.0})],
)
def test_removes_the_backdoor_and_keeps_accuracy(attack: str, fields: dict[str, Any]) -> None:
    victim = lab(attack, **fields)
    defended = victim.defend("i_bau", **STRENGTH).model
    assert defended is not None
    before, after = victim.rates(victim.model), victim.rates(defended)
    assert before[1] > 0.9
    assert after[1] < 0.2
    assert after[0] > before[0] - 0.08


@pytest.mark.evidence
def test_costs_a_clean_model_at_most_six_points() -> None:
    victim = lab("none", 0.0)
    defended = victim.defend("i_bau", **STRENGTH).model
    assert defended is not None
    assert victim.rates(defended)[0] > victim.rates(victim.model)[0] - 0.06


class Pixels(Classifier):
    """Logits are linear in the four pixels, so that a search has one answer."""

    def __init__(self) -> None:
        classes = tuple("012")
        super().__init__(
            DataSpec(dataset="x", classes=classes, shape=(1, 2, 2), mean=(0,), std=(1,))
        )
        self.head = torch.nn.Linear(4, 3)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.head.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def extract(self, normalized: Tensor) -> Tensor:
        return normalized.flatten(1)


def batch_of(images: Tensor, labels: Tensor) -> Batch:
    return Batch(
        pixels=images,
        labels=labels,
        ids=torch.arange(len(labels)),
        epoch=0,
        augmentation=Augmentation(),
        generator=torch.Generator().manual_seed(0),
    )


def some_pixels() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (6, 1, 2, 2), dtype=torch.uint8, generator=generator)
    return batch_of(images, torch.arange(6) % 3)


def answer(defense: ImplicitBackdoorUnlearning, model: Classifier, batch: Batch) -> Tensor:
    """The perturbation that harms most, to the last digit."""
    perturbed = Perturbed(model, torch.tensor(0.5), torch.zeros(1, 2, 2, dtype=torch.float64))
    for _ in range(400):
        (slope,) = torch.autograd.grad(defense.harm(perturbed, batch), perturbed.delta)
        perturbed.delta.data += 0.2 * slope
    return perturbed.delta.detach()


def test_the_gradient_is_that_of_the_minimax_problem() -> None:
    """Against differences of the loss where the perturbation is found anew for every weight."""
    defense = ImplicitBackdoorUnlearning(share=0.5, price=1.0, iterations=200, iteration_lr=0.2)
    model, batch = Pixels().double(), some_pixels()
    weight, along = model.head.weight, torch.ones(3, 4, dtype=torch.float64).triu()

    def loss(shift: float) -> Tensor:
        weight.data += shift * along
        perturbed = Perturbed(model, torch.tensor(0.5), answer(defense, model, batch))
        found = defense.loss(perturbed, batch)
        weight.data -= shift * along
        return found.detach()

    expected = (loss(1e-4) - loss(-1e-4)) / 2e-4
    perturbed = Perturbed(model, torch.tensor(0.5), answer(defense, model, batch))
    (whole,) = torch.autograd.grad(defense.loss(perturbed, batch), weight)
    torch.testing.assert_close((whole * along).sum(), expected, rtol=1e-4, atol=1e-6)
    plain = cross_entropy(perturbed(batch.images, 3), batch.labels)
    torch.testing.assert_close(defense.loss(perturbed, batch), plain)
    (direct,) = torch.autograd.grad(plain, weight)
    assert abs((direct * along).sum() - expected) > 1e-2


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 3), (1.0, 6)])
def test_part_of_a_batch_is_perturbed(share: float, count: int) -> None:
    batch, model = some_pixels(), Pixels()
    perturbed = Perturbed(model, torch.tensor(0.5), torch.ones(1, 2, 2))
    shown = batch.images.clone()
    shown[:count] += 0.5
    found = ImplicitBackdoorUnlearning(share=share).loss(perturbed, batch)
    torch.testing.assert_close(found, cross_entropy(model(shown), batch.labels))


def search(victim: Lab, **fields: Any) -> tuple[Tensor, float]:
    """A perturbation, and the accuracy that it leaves on the clean set."""
    defense = ImplicitBackdoorUnlearning(batch_size=32, search_epochs=2, **fields)
    view = victim.view(defense)
    unit = torch.tensor(view.data.std)[:, None, None]
    delta = defense.search(view, unit, 0)
    batch = batch_of(view.clean_set.images, view.clean_set.labels)
    logits = Perturbed(view.model, unit, delta)(batch.images)
    return delta, float((logits.argmax(1) == batch.labels).float().mean())


def test_a_search_finds_what_harms(badnets: Lab) -> None:
    found, left = search(badnets)
    cheap, kept = search(badnets, price=0.04)
    assert left < 0.5 < 0.9 < kept
    assert cheap.norm() < 0.2 * found.norm()


def test_batch_statistics_stay_and_weights_move(badnets: Lab) -> None:
    defended = badnets.defend("i_bau", rounds=1).model
    assert defended is not None
    norms = surgery.batch_norms(badnets.model)
    for name, norm in surgery.batch_norms(defended).items():
        assert norm.running_mean is not None
        assert torch.equal(norm.running_mean, norms[name].running_mean)  # type: ignore[arg-type]
    assert not torch.equal(defended.head.weight, badnets.model.head.weight)
    assert all(weight.requires_grad for weight in defended.parameters())
