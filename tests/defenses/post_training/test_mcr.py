from statistics import mean
from typing import Any

import pytest
import torch

from bdb.datasets.base import ImageSet
from bdb.defenses.post_training.mcr import ModeConnectivityRepair, Path
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.testing import Lab, lab
from bdb.training import inference
from bdb.training.loop import Batch

# As in the preset of digits.
STRENGTH: dict[str, Any] = {
    "tuning_epochs": 15,
    "tuning_lr": 0.2,
    "epochs": 30,
    "lr": 0.2,
    "batch_size": 32,
    "t": None,
}


def defend(victim: Lab, **fields: Any) -> Classifier:
    model = victim.defend("mcr", **fields).model
    assert model is not None
    return model


@pytest.mark.evidence
@pytest.mark.parametrize("attack", ["badnets", "blended"])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str) -> None:
    """Seeds 0, 1, 2: ASR 0, 0, 0 % (badnets), 2, 0, 0 % (blended), at most 5 points of C-Acc."""
    victims = [lab(attack, 0.1, seed) for seed in range(3)]
    before = [victim.rates(victim.model) for victim in victims]
    after = [victim.rates(defend(victim, **STRENGTH)) for victim in victims]
    assert min(success for _, success in before) > 0.9
    assert mean(success for _, success in after) < 0.2
    assert mean(accuracy for accuracy, _ in after) > mean(a for a, _ in before) - 0.1


@pytest.mark.evidence
def test_costs_a_clean_model_at_most_eight_points() -> None:
    """Seeds 0, 1, 2: 1, 1 and 3 points."""
    victim = lab("none", 0.0)
    assert victim.rates(defend(victim, **STRENGTH))[0] > victim.rates(victim.model)[0] - 0.08


def path(victim: Lab) -> Path:
    """From the victim to a clean model, bent."""
    made = Path(models.duplicate(victim.model), models.duplicate(lab("none", 0.0).model))
    with torch.no_grad():
        for weight in made.middle.parameters():
            weight.add_(0.01)
    return made


def test_the_path_begins_and_ends_where_it_should(badnets: Lab) -> None:
    made = path(badnets)
    for t, end in ((0.0, made.start), (1.0, made.end)):
        found, expected = made.weights(torch.tensor(t)), dict(end.named_parameters())
        assert all(torch.equal(weight, expected[name]) for name, weight in found.items())


def test_half_way_the_middle_counts_for_half(badnets: Lab) -> None:
    made = path(badnets)
    found = made.weights(torch.tensor(0.5))["head.weight"]
    mean_of_ends = (made.start.head.weight + made.end.head.weight) / 2
    torch.testing.assert_close(found, (mean_of_ends + made.middle.head.weight) / 2)
    torch.testing.assert_close(made.middle.head.weight, mean_of_ends + 0.01)


def test_only_the_middle_learns(badnets: Lab, batch: Batch) -> None:
    made = path(badnets)
    made.loss(made.middle.train(), batch).backward()
    assert all(weight.grad is not None for weight in made.middle.parameters())
    assert all(w.grad is None for end in (made.start, made.end) for w in end.parameters())


def test_the_loss_is_that_of_a_place_on_the_path(badnets: Lab, batch: Batch) -> None:
    made = path(badnets)
    twin = torch.Generator().manual_seed(0)
    model = models.duplicate(made.middle.eval())
    model.load_state_dict(made.weights(torch.rand(1, generator=twin)), strict=False)
    expected = torch.nn.functional.cross_entropy(model(batch.images), batch.labels)
    torch.testing.assert_close(made.loss(made.middle, batch), expected)


def test_at_the_end_the_network_is_the_tuned_one(badnets: Lab) -> None:
    made, clean = path(badnets), badnets.clean_set
    accuracy = [
        inference.accuracy(model, badnets.test.images, badnets.test.labels)
        for model in (made.at(1.0, clean), made.end)
    ]
    assert accuracy[0] > accuracy[1] - 0.03


def test_the_place_is_as_near_to_the_middle_as_accuracy_allows(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, (kept, held) = path(badnets), (badnets.clean_set, badnets.test)
    asked: list[float] = []
    good = {0.0: badnets.model, 0.25: badnets.model, 1.0: badnets.model}
    bad = models.build(badnets.spec, 1).eval()

    def at(_self: Path, t: float, _data: ImageSet) -> Classifier:
        asked.append(t)
        return good.get(t, bad)

    monkeypatch.setattr(Path, "at", at)
    assert ModeConnectivityRepair().choose(made, kept, held) is badnets.model
    assert asked[0] == 0.5
    assert asked[-1] == 0.25
    assert all(0.25 <= t <= 0.75 for t in asked)
    good.clear()
    assert ModeConnectivityRepair().choose(made, kept, held) is made.start


def test_decides_on_images_it_does_not_train_on(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, ImageSet] = {}
    connect, choose = ModeConnectivityRepair.connect, ModeConnectivityRepair.choose

    def spy_connect(self: ModeConnectivityRepair, view: Any, data: ImageSet) -> Path:
        seen["trained"] = data
        return connect(self, view, data)

    def spy_choose(self: Any, path: Path, kept: ImageSet, held: ImageSet) -> Classifier:
        seen["held"] = held
        return choose(self, path, kept, held)

    monkeypatch.setattr(ModeConnectivityRepair, "connect", spy_connect)
    monkeypatch.setattr(ModeConnectivityRepair, "choose", spy_choose)
    defend(badnets, t=None, tuning_epochs=1, epochs=1)
    held, trained = (set(seen[name].ids.tolist()) for name in ("held", "trained"))
    assert held.isdisjoint(trained)
    assert held | trained == set(range(len(badnets.clean_set)))
