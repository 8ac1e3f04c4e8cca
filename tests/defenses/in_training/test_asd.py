from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bdb.defenses.base import DefenderView
from bdb.defenses.in_training.asd import AdaptiveSplitting
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.testing import Lab
from bdb.training.recipes import Recipe

# As in the preset of digits.
STRENGTH: dict[str, Any] = {
    "growing_epochs": 15,
    "growth_every": 4,
    "loss_epochs": 4,
    "meta_epochs": 6,
    "iterations": 15,
    "meta_batch_size": 16,
    "meta_lr": 0.005,
}


@pytest.mark.evidence
@pytest.mark.parametrize("attack", ["badnets", "blended"])
def test_removes_the_backdoor(over_seeds: Callable[..., Any], attack: str) -> None:
    """Seeds 0, 1, 2 of blended: ASR 1, 0, 0 %, and 3, 2, 5 points of C-Acc."""
    before, after = over_seeds("asd", attack, **STRENGTH)
    assert before[1] > 0.9
    assert after[1] < 0.2
    assert after[0] > before[0] - 0.1


@pytest.mark.evidence
def test_costs_a_clean_model_little(over_seeds: Callable[..., Any]) -> None:
    before, after = over_seeds("asd", "none", **STRENGTH)
    assert after[0] > before[0] - 0.1


def test_trust_grows_class_by_class_and_then_by_loss_alone() -> None:
    asd = AdaptiveSplitting()
    labels = torch.arange(1000) % 10
    suspicion = torch.rand(1000) + (labels == 3) * 5
    by_class = [
        asd.trusted(suspicion, labels, epoch)[labels == 3].sum().item()
        for epoch in (0, 4, 5, 10, 59)
    ]
    assert by_class == [0, 0, 10, 20, 50]
    some = asd.trusted(suspicion, labels, 5)
    assert labels[some].bincount().tolist() == [10] * 10
    for label in range(10):
        own = suspicion[labels == label]
        assert own[some[labels == label]].max() <= own[~some[labels == label]].min()
    half = asd.trusted(suspicion, labels, 60)
    assert half.sum() == 500
    assert not half[labels == 3].any()


@pytest.mark.parametrize(("seeds", "expected"), [(2, [2] * 10), (1000, None)])
def test_begins_with_some_clean_samples_of_each_class(
    badnets: Lab, seeds: int, expected: list[int] | None
) -> None:
    asd = AdaptiveSplitting.make(seeds=seeds)
    found = asd.begin(badnets.view(asd))
    every = badnets.clean_set.labels.bincount().tolist()
    assert found.labels.bincount().tolist() == (expected or every)
    places = found.ids
    assert torch.equal(found.images, badnets.clean_set.images[places])
    single = replace(badnets, clean_set=badnets.clean_set[torch.arange(1)])
    assert len(asd.begin(single.view(asd))) == 1


def test_at_last_it_asks_how_fast_the_loss_falls(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, copies = DefenderView.fit, []

    def spy(
        self: DefenderView, model: nn.Module, data: Any, recipe: Recipe, **options: Any
    ) -> object:
        copies.append(model)
        return fit(self, model, data, recipe, **options)

    monkeypatch.setattr(DefenderView, "fit", spy)
    asd = AdaptiveSplitting()
    view = badnets.view(asd)
    model, data = models.duplicate(badnets.model), view.train_set[torch.arange(128)]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = asd.losses(model, data)
    assert torch.equal(asd.suspicion(view, model, data, 89), losses)
    assert not copies
    fall = asd.suspicion(view, model, data, 90)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    copy = copies[0]
    assert isinstance(copy, Classifier)
    torch.testing.assert_close(fall, losses - asd.losses(copy, data))
    trained = {
        name.split(".")[0]
        for name, parameter in copy.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert trained == {"layer2", "layer3", "head"}


def test_the_truth_about_no_sample_is_asked_for(badnets: Lab) -> None:
    few = {"iterations": 2, "growing_epochs": 1, "loss_epochs": 1, "meta_epochs": 1}
    scores: Tensor = badnets.defend("asd", **few).scores["train"]
    assert len(scores) == len(badnets.train_set)
    assert scores.isfinite().all()
