import dataclasses

import pytest
import torch

from bdb.defenses.base import DefenderView, Given, Outcome
from bdb.defenses.inference.strip import Strip
from bdb.errors import ParamsError
from bdb.testing import CPU, Lab, lab

QUICK = {"overlays": 24, "mix": "add"}


@pytest.fixture(scope="module")
def outcome(badnets: Lab) -> Outcome:
    return badnets.defend("strip", **QUICK)


@pytest.mark.slow
def test_triggered_inputs_score_higher(badnets: Lab, outcome: Outcome) -> None:
    """The reference takes the entropy itself for the score: its AUROC is one minus ours."""
    from sklearn.metrics import roc_auc_score

    truth, scores = badnets.inputs()[1], outcome.scores["inputs"]
    assert roc_auc_score(truth, scores) > 0.95
    assert scores[truth].mean() > scores[~truth].mean()


@pytest.mark.slow
def test_threshold_keeps_the_false_positive_rate(badnets: Lab, outcome: Outcome) -> None:
    truth, flagged = badnets.inputs()[1], outcome.flagged["inputs"]
    assert flagged[truth].float().mean() > 0.9
    assert 0.02 < flagged[~truth].float().mean() < 0.2
    assert outcome.model is None


@pytest.mark.slow
def test_detects_blended() -> None:
    from sklearn.metrics import roc_auc_score

    victim = lab("blended")
    # A sum drowns the faint picture; a mean of two images keeps it.
    scores = victim.defend("strip", overlays=24, mix="blend", alpha=0.5).scores["inputs"]
    assert roc_auc_score(victim.inputs()[1], scores) > 0.85


@pytest.mark.parametrize(
    ("mix", "expected"), [("sum", 0.8 + 0.5 * (0.6 - 0.3)), ("add", 1.0), ("blend", 0.7)]
)
def test_lays_images_over_each_other(mix: str, expected: float) -> None:
    images, over, mean = torch.full((2, 3, 4, 4), 0.8), torch.full((3, 4, 4), 0.6), 0.3
    mixed = Strip.make(mix=mix, alpha=0.5).lay(images, over, torch.full((3, 1, 1), mean))
    torch.testing.assert_close(mixed, torch.full_like(images, expected))
    assert (images == 0.8).all()


def test_the_model_sees_the_sum_of_normalised_images(badnets: Lab) -> None:
    model, images = badnets.model, badnets.test.images[:2] / 255
    mean = torch.tensor(badnets.spec.data.mean).view(-1, 1, 1)
    mixed = Strip(mix="sum", alpha=1.0).lay(images[:1], images[1], mean)
    expected = model.normalize(images[:1]) + model.normalize(images[1:])
    torch.testing.assert_close(model.normalize(mixed), expected)


def test_a_single_clean_image_is_refused(badnets: Lab) -> None:
    single = dataclasses.replace(badnets, clean_set=badnets.clean_set[torch.arange(1)])
    with pytest.raises(ParamsError, match="clean_set: strip needs 2 images or more, not 1"):
        single.defend("strip")


def test_a_score_does_not_depend_on_the_other_inputs(badnets: Lab) -> None:
    defense, inputs = Strip(overlays=4), badnets.inputs()[0][:40]

    def scores(images: torch.Tensor) -> torch.Tensor:
        given = Given(model=badnets.model, clean_set=badnets.clean_set, inputs=images)
        view = DefenderView(
            given, defense.needs, spec=badnets.spec, recipe=badnets.recipe, seed=0, device=CPU
        )
        return defense.run(view).scores["inputs"]

    torch.testing.assert_close(scores(inputs)[7:9], scores(inputs[7:9]), rtol=1e-3, atol=1e-5)


def test_no_clean_image_meets_itself(badnets: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(
        _self: Strip, _view: DefenderView, images: torch.Tensor, over: torch.Tensor
    ) -> torch.Tensor:
        seen.append((images, over))
        return torch.zeros(len(images))

    monkeypatch.setattr(Strip, "entropy", record)
    badnets.defend("strip", overlays=100)
    (inputs, over), (ordinary, same) = seen
    assert torch.equal(over, same)
    assert len(over) == 100
    assert len(inputs) == len(badnets.inputs()[0])
    assert len(ordinary) + len(over) == len(badnets.clean_set)
    pairs = torch.cat([ordinary, over]).flatten(1)
    assert torch.equal(
        pairs.sum(1).sort().values, badnets.clean_set.images.flatten(1).sum(1).sort().values
    )
