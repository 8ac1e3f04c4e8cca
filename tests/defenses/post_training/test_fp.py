import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bdb.datasets.base import DataSpec, ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.post_training.fp import FinePruning
from bdb.models import base as models
from bdb.models.base import Classifier, Wrapper
from bdb.models.wrappers import FeatureMask
from bdb.testing import Lab, lab
from bdb.training import inference

STRENGTH = {"epochs": 50, "batch_size": 32, "lr": 0.2}


def defend(victim: Lab, **fields: object) -> FeatureMask:
    model = victim.defend("fp", **fields).model
    assert isinstance(model, FeatureMask)
    return model


@pytest.mark.parametrize(("attack", "limit"), [("badnets", 0.1), ("blended", 0.4)])
def test_removes_the_backdoor_and_keeps_accuracy(attack: str, limit: float, tmp_path: Path) -> None:
    victim = lab(attack)
    defended = defend(victim, **STRENGTH)
    after = victim.rates(defended)
    assert victim.rates(victim.model)[1] > 0.9
    assert after[1] < limit
    assert after[0] > victim.rates(victim.model)[0] - 0.05
    features = inference.features(defended, victim.test.images)
    assert (defended.mask == 0).any()
    assert (features[:, defended.mask == 0] == 0).all()
    models.save(tmp_path / "model.safetensors", defended)
    loaded = models.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, FeatureMask)
    assert torch.equal(loaded.mask, defended.mask)
    assert victim.rates(loaded) == after


class Pixels(Classifier):
    """The features are the ten pixels, and each speaks for its own class."""

    def __init__(self) -> None:
        classes = tuple("0123456789")
        super().__init__(
            DataSpec(dataset="x", classes=classes, shape=(1, 1, 10), mean=(0,), std=(1,))
        )
        self.head = nn.Linear(10, 10)
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def extract(self, normalized: Tensor) -> Tensor:
        return normalized.flatten(1)


@pytest.mark.parametrize(("max_drop", "count"), [(0.05, 1), (0.15, 2), (0.25, 3), (1.0, 9)])
def test_stops_right_before_too_much_is_lost(max_drop: float, count: int) -> None:
    # Class k lights pixel k alone, the brighter the higher k: pixels go in their order. A class
    # without its pixel is taken for class 0, so c pruned pixels lose c - 1 classes of ten.
    brightness = torch.arange(1, 11, dtype=torch.uint8) * 20
    data = ImageSet.whole(torch.diag(brightness)[:, None, None], torch.arange(10))
    chosen = FinePruning(max_drop=max_drop).choose(Pixels(), data, data)
    assert chosen.tolist() == [0.0] * count + [1.0] * (10 - count)


def test_prunes_what_the_ranking_set_leaves_dark() -> None:
    data = ImageSet.whole(torch.eye(10, dtype=torch.uint8)[:, None, None] * 255, torch.arange(10))
    bright = data[torch.tensor([0, 1, 2, 3, 4, 6, 7, 8, 9])]
    chosen = FinePruning(max_drop=0.15).choose(Pixels(), bright, data)
    assert chosen[5] == 0


def test_fine_tunes_the_very_state_that_was_chosen(badnets: Lab) -> None:
    fp = FinePruning(epochs=1, lr=1e-12)
    view = badnets.view(fp)
    chosen = fp.choose(view.model, *view.split_clean(fp.held_out))
    defended = defend(badnets, epochs=1, lr=1e-12)
    assert 0 < int((chosen == 0).sum()) < len(chosen)
    assert torch.equal(defended.mask, chosen)
    victim = dict(badnets.model.named_parameters())
    for name, parameter in defended.inner.named_parameters():
        torch.testing.assert_close(parameter, victim[name])


def test_the_test_set_and_the_attack_have_no_say(badnets: Lab) -> None:
    blind = dataclasses.replace(
        badnets,
        test=dataclasses.replace(badnets.test, labels=(badnets.test.labels + 1) % 10),
        poison=lab("blended").poison,
    )
    assert blind.rates(badnets.model) != badnets.rates(badnets.model)
    assert FinePruning.needs == {"model", "clean_set"}
    first, second = (defend(victim, epochs=1).state_dict() for victim in (badnets, blind))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("tune_on", ["all", "rest"])
def test_decides_on_images_it_does_not_rank_by(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch, tune_on: str
) -> None:
    seen: dict[str, ImageSet] = {}
    choose, fit = FinePruning.choose, DefenderView.fit

    def spy_choose(self: FinePruning, model: Classifier, kept: ImageSet, held: ImageSet) -> Tensor:
        seen.update(kept=kept, held=held)
        return choose(self, model, kept, held)

    def spy_fit(self: DefenderView, model: nn.Module, data: ImageSet, *args: object) -> object:
        seen["trained"] = data
        return fit(self, model, data, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(FinePruning, "choose", spy_choose)
    monkeypatch.setattr(DefenderView, "fit", spy_fit)
    defend(badnets, epochs=1, tune_on=tune_on)
    held, clean = set(seen["held"].ids.tolist()), set(range(len(badnets.clean_set)))
    kept, trained = (set(seen[name].ids.tolist()) for name in ("kept", "trained"))
    assert held.isdisjoint(kept)
    assert held | kept == clean
    assert trained == (clean if tune_on == "all" else kept)


class Shifted(Wrapper):
    """Answers class k + 1 where the inner model says k."""

    def after(self, logits: Tensor) -> Tensor:
        return logits.roll(1, 1)


def test_counts_by_what_the_model_answers_not_by_its_head(badnets: Lab) -> None:
    images = badnets.clean_set
    moved = dataclasses.replace(images, labels=(images.labels + 1) % 10)
    expected = FinePruning().choose(badnets.model, images, images)
    found = FinePruning().choose(Shifted(badnets.model).eval(), moved, moved)
    assert 0 < int((expected == 0).sum()) < len(expected) - 1
    assert torch.equal(found, expected)
