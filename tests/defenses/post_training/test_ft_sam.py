from collections.abc import Callable
from itertools import product
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bdb.defenses.post_training.ft_sam import SharpnessAwareFineTuning, climb
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training import device as devices
from bdb.training import loop
from bdb.training.loop import Batch

# As in the preset of digits.
STRENGTH: dict[str, Any] = {"epochs": 20, "batch_size": 32, "lr": 0.05}


@pytest.mark.parametrize("attack", ["badnets", "blended"])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str) -> None:
    victim = lab(attack)
    defended = victim.defend("ft_sam", **STRENGTH).model
    assert defended is not None
    before, after = victim.rates(victim.model), victim.rates(defended)
    assert before[1] > 0.9
    assert after[1] < 0.15
    assert after[0] > before[0] - 0.06


@pytest.mark.evidence
def test_removes_what_plain_fine_tuning_leaves() -> None:
    """The paper's claim, at the same rate, batches and passes; what is left hangs on the CPU."""
    left: dict[str, list[float]] = {"ft": [], "ft_sam": []}
    for victim, name in product([lab("lf", 0.1, seed) for seed in range(3)], left):
        model = victim.defend(name, **STRENGTH).model
        assert model is not None
        left[name].append(victim.rates(model)[1])
    assert mean(left["ft_sam"]) < 0.15
    assert mean(left["ft_sam"]) <= mean(left["ft"]) + 0.02


@pytest.mark.evidence
def test_costs_a_clean_model_at_most_five_points() -> None:
    victim = lab("none", 0.0)
    defended = victim.defend("ft_sam", **STRENGTH).model
    assert defended is not None
    assert victim.rates(defended)[0] > victim.rates(victim.model)[0] - 0.05


@pytest.fixture
def with_gradients(
    badnets: Lab, as_batch: Callable[..., Batch]
) -> Callable[[], tuple[Classifier, Batch]]:
    """Makes a copy in training mode, and the batch that its gradients are of."""

    def make() -> tuple[Classifier, Batch]:
        model = models.duplicate(badnets.model).train()
        batch = as_batch(badnets.clean_set[torch.arange(32)], label_smoothing=0.1)
        loss(model, batch).backward()
        return model, batch

    return make


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """In the precision of training."""
    with devices.autocast(batch.labels.device):
        return loop.cross_entropy(model, batch)


def slopes(model: nn.Module) -> list[Tensor]:
    return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


def test_every_weight_climbs_by_its_size(with_gradients: Any) -> None:
    model, _ = with_gradients()
    before, gradients = [w.detach().clone() for w in model.parameters()], slopes(model)
    climb(list(model.parameters()), 0.5)
    scaled = torch.cat([(w.abs() * g).flatten() for w, g in zip(before, gradients, strict=True)])
    shares = []
    for weight, old, gradient in zip(model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(
            weight.detach() - old, 0.5 * old**2 * gradient / scaled.norm(), atol=1e-6, rtol=1e-3
        )
        shares.append(((weight.detach() - old) / old.abs())[old != 0])
    torch.testing.assert_close(torch.cat(shares).norm(), torch.tensor(0.5), rtol=1e-3, atol=0)


def test_where_it_climbs_to_the_loss_is_worse(with_gradients: Any) -> None:
    model, batch = with_gradients()
    start = loss(model, batch).detach()
    climb(list(model.parameters()), 2.0)
    assert loss(model, batch).detach() > start + 0.1


def test_the_step_takes_the_gradients_from_there_and_leaves_the_rest(with_gradients: Any) -> None:
    (model, batch), (there, _) = (with_gradients() for _ in range(2))
    climb(list(there.parameters()), 2.0)
    there.zero_grad()
    loss(there, batch).backward()
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    SharpnessAwareFineTuning().sharpen(model, batch, optimizer)
    for found, expected in zip(slopes(model), slopes(there), strict=True):
        torch.testing.assert_close(found, expected)
    # Weights, and the batch statistics that the first pass has counted already.
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    model(batch.images)
    moved = [n for n, t in model.state_dict().items() if not torch.equal(t, kept[n])]
    assert any("running_mean" in name for name in moved)


def test_without_a_slope_it_stays(with_gradients: Any) -> None:
    model, _ = with_gradients()
    before = [weight.detach().clone() for weight in model.parameters()]
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    climb(list(model.parameters()), 2.0)
    assert all(torch.equal(w, old) for w, old in zip(model.parameters(), before, strict=True))
