import dataclasses

import pytest
import torch
from torch import Tensor, nn

from bdb.datasets.base import ImageSet
from bdb.defenses import masks
from bdb.defenses.base import DefenderView
from bdb.defenses.masks import Masked
from bdb.defenses.post_training.anp import AdversarialNeuronPruning
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training.loop import Batch

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


def test_the_noise_is_bounded_and_harms(badnets: Lab, batch: Batch) -> None:
    masked = Masked(models.duplicate(badnets.model))
    ones = torch.ones_like(masked.scales)
    noise = AdversarialNeuronPruning(eps=0.3).attack(masked, ones, batch)
    assert noise.abs().max() <= 0.3
    free = AdversarialNeuronPruning(eps=0.3, clamp=False).attack(masked, ones, batch)
    assert 0.3 < free.abs().max() <= 0.6
    draw = torch.rand(2, len(ones), generator=torch.Generator().manual_seed(2))
    random = 0.3 * (2 * draw - 1)
    assert masked.loss(ones, batch, noise) > masked.loss(ones, batch, random)


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
    choose, fit = masks.choose, DefenderView.fit

    def spy_choose(model: Classifier, mask: Tensor, held: ImageSet, max_drop: float) -> float:
        seen["held"] = held
        return choose(model, mask, held, max_drop)

    def spy_fit(
        self: DefenderView, model: nn.Module, data: ImageSet, *args: object, **options: object
    ) -> object:
        seen["learned"] = data
        return fit(self, model, data, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(masks, "choose", spy_choose)
    monkeypatch.setattr(DefenderView, "fit", spy_fit)
    badnets.defend("anp", **SHORT)
    held, learned = (set(seen[name].ids.tolist()) for name in ("held", "learned"))
    assert held.isdisjoint(learned)
    assert held | learned == set(range(len(badnets.clean_set)))
