import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.post_training import anp
from bdb.defenses.post_training.anp import AdversarialNeuronPruning, _Perturbed, prune
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training import loop

STRENGTH = {
    "iterations": 150,
    "batch_size": 64,
    "lr": 0.1,
    "eps": 0.7,
    "threshold": None,
    "max_drop": 0.05,
    "held_out": 0.4,
}
SHORT = {"iterations": 20, "batch_size": 64, "threshold": None}


def make_batch(victim: Lab) -> loop.Batch:
    data = victim.clean_set[torch.arange(128)]
    return loop.Batch(
        pixels=data.images,
        labels=data.labels,
        ids=data.ids,
        epoch=0,
        augmentation=Augmentation(),
        generator=torch.Generator().manual_seed(0),
    )


def test_removes_the_backdoor_by_pruning_alone(badnets: Lab) -> None:
    defended = badnets.defend("anp", **STRENGTH).model
    assert defended is not None
    before, after = badnets.rates(badnets.model), badnets.rates(defended)
    assert before[1] > 0.9
    assert after[1] < 0.5
    assert after[0] > before[0] - 0.08
    victim = badnets.model.state_dict()
    scales = {f"{name}.weight" for name in surgery.batch_norms(badnets.model)}
    for name, tensor in defended.state_dict().items():
        if name in scales:
            assert ((tensor == victim[name]) | (tensor == 0)).all()
        else:
            assert torch.equal(tensor, victim[name]), name


def test_without_noise_and_with_whole_masks_the_model_is_itself(badnets: Lab) -> None:
    batch = make_batch(badnets)
    masked = _Perturbed(models.duplicate(badnets.model))
    ones = torch.ones_like(masked.scales)
    expected = cross_entropy(badnets.model(batch.images), batch.labels)
    found = masked.loss(ones, torch.zeros(2, len(ones)), batch)
    torch.testing.assert_close(found, expected)


def test_scales_and_biases_are_changed_as_published(badnets: Lab) -> None:
    batch = make_batch(badnets)
    masked = _Perturbed(models.duplicate(badnets.model))
    generator = torch.Generator().manual_seed(1)
    mask, *noise = torch.rand(3, len(masked.scales), generator=generator)
    by_hand, start = models.duplicate(badnets.model), 0
    with torch.no_grad():
        for norm in surgery.batch_norms(by_hand).values():
            here = slice(start, start := start + norm.num_features)
            norm.weight.mul_(mask[here] + noise[0][here])
            norm.bias.mul_(1 + noise[1][here])
    found = masked.loss(mask, torch.stack(noise), batch)
    torch.testing.assert_close(found, cross_entropy(by_hand(batch.images), batch.labels))


def test_the_noise_is_bounded_and_harms(badnets: Lab) -> None:
    batch = make_batch(badnets)
    masked = _Perturbed(models.duplicate(badnets.model))
    ones = torch.ones_like(masked.scales)
    noise = AdversarialNeuronPruning(eps=0.3).attack(masked, ones, batch)
    assert noise.abs().max() <= 0.3
    free = AdversarialNeuronPruning(eps=0.3, clamp=False).attack(masked, ones, batch)
    assert 0.3 < free.abs().max() <= 0.6
    draw = torch.rand(2, len(ones), generator=torch.Generator().manual_seed(2))
    random = 0.3 * (2 * draw - 1)
    assert masked.loss(ones, noise, batch) > masked.loss(ones, random, batch)


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

    monkeypatch.setattr(anp.inference, "accuracy", accuracy)
    chosen = AdversarialNeuronPruning().choose(victim.model, mask, victim.clean_set)
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


def test_the_test_set_and_the_attack_have_no_say(badnets: Lab) -> None:
    blind = dataclasses.replace(
        badnets,
        test=dataclasses.replace(badnets.test, labels=(badnets.test.labels + 1) % 10),
        poison=lab("blended").poison,
    )
    assert blind.rates(badnets.model) != badnets.rates(badnets.model)
    assert AdversarialNeuronPruning.needs == {"model", "clean_set"}
    first, second = (victim.defend("anp", **SHORT).model for victim in (badnets, blind))
    assert first is not None
    assert second is not None
    states = first.state_dict(), second.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_decides_on_images_it_does_not_learn_from(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, ImageSet] = {}
    choose, fit = AdversarialNeuronPruning.choose, DefenderView.fit

    def spy_choose(
        self: AdversarialNeuronPruning, model: Classifier, mask: Tensor, held: ImageSet
    ) -> float:
        seen["held"] = held
        return choose(self, model, mask, held)

    def spy_fit(
        self: DefenderView, model: nn.Module, data: ImageSet, *args: object, **options: object
    ) -> object:
        seen["learned"] = data
        return fit(self, model, data, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(AdversarialNeuronPruning, "choose", spy_choose)
    monkeypatch.setattr(DefenderView, "fit", spy_fit)
    badnets.defend("anp", **SHORT)
    held, learned = (set(seen[name].ids.tolist()) for name in ("held", "learned"))
    assert held.isdisjoint(learned)
    assert held | learned == set(range(len(badnets.clean_set)))
