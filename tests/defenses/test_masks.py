from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bdb.defenses import masks
from bdb.defenses.masks import Masked, prune
from bdb.models import base as models
from bdb.models import surgery
from bdb.testing import Lab
from bdb.training.loop import Batch


def test_without_noise_and_with_whole_masks_the_model_is_itself(badnets: Lab, batch: Batch) -> None:
    masked = Masked(models.duplicate(badnets.model))
    ones = torch.ones_like(masked.scales)
    expected = cross_entropy(badnets.model(batch.images), batch.labels)
    found = masked.loss(ones, batch)
    torch.testing.assert_close(found, expected)


def test_scales_and_biases_are_changed_as_published(badnets: Lab, batch: Batch) -> None:
    masked = Masked(models.duplicate(badnets.model))
    generator = torch.Generator().manual_seed(1)
    mask, *noise = torch.rand(3, len(masked.scales), generator=generator)
    by_hand, start = models.duplicate(badnets.model), 0
    with torch.no_grad():
        for norm in surgery.batch_norms(by_hand).values():
            here = slice(start, start := start + norm.num_features)
            norm.weight.mul_(mask[here] + noise[0][here])
            norm.bias.mul_(1 + noise[1][here])
    found = masked.loss(mask, batch, torch.stack(noise))
    torch.testing.assert_close(found, cross_entropy(by_hand(batch.images), batch.labels))


def test_prunes_up_to_the_threshold_and_keeps_the_bias(badnets: Lab) -> None:
    model = models.duplicate(badnets.model)
    norms = surgery.batch_norms(model)
    mask = torch.ones(sum(norm.num_features for norm in norms.values()))
    first = next(iter(norms.values())).num_features
    mask[3], mask[first + 5] = 0.1, 0.2
    prune(norms.values(), mask, 0.2)
    silenced = torch.cat([norm.weight for norm in norms.values()]) == 0
    assert silenced.nonzero().flatten().tolist() == [3, first + 5]
    victim = surgery.batch_norms(badnets.model)
    assert all(torch.equal(norms[name].bias, victim[name].bias) for name in norms)


def choose(
    victim: Lab, monkeypatch: pytest.MonkeyPatch, allowed: Callable[[int], bool]
) -> tuple[int, list[int]]:
    """How many channels a choice silences, and how many every trial did.

    Args:
        victim: its batch norms get the masks 1, 2, ... thousandths.
        monkeypatch: replaces what is measured.
        allowed: whether accuracy is kept with so many channels silenced.
    """
    norms = surgery.batch_norms(victim.model)
    width = sum(norm.num_features for norm in norms.values())
    mask, tried = torch.arange(1, width + 1) / 1000, []

    def accuracy(model: nn.Module, *_: object) -> float:
        zeros = sum(int((norm.weight == 0).sum()) for norm in surgery.batch_norms(model).values())
        tried.append(zeros)
        return 1.0 if allowed(zeros) else 0.0

    monkeypatch.setattr(masks.inference, "accuracy", accuracy)
    chosen = masks.choose(victim.model, mask, victim.clean_set, 0.1)
    return int((mask <= chosen).sum()), tried[1:]


@pytest.mark.parametrize("limit", [0, 1, 57, 200])
def test_the_threshold_is_exact_to_the_channel(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    count, tried = choose(badnets, monkeypatch, lambda zeros: zeros <= limit)
    assert count == limit
    assert len(tried) == len(set(tried)) <= 2 * 32


def test_the_choice_goes_on_where_accuracy_recovers(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, tried = choose(badnets, monkeypatch, lambda zeros: not 20 < zeros < 90)
    assert count == max(tried) > 200
