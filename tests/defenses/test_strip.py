import pytest
import torch

from bdb.defenses.base import DefenderView, Evidence, Outcome
from bdb.defenses.strip import Strip
from bdb.testing import CPU, Lab, lab

QUICK = {"overlays": 24}


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
    scores = victim.defend("strip", **QUICK).scores["inputs"]
    assert roc_auc_score(victim.inputs()[1], scores) > 0.85


def test_a_score_does_not_depend_on_the_other_inputs(badnets: Lab) -> None:
    defense, inputs = Strip(overlays=4), badnets.inputs()[0][:40]

    def scores(images: torch.Tensor) -> torch.Tensor:
        evidence = Evidence(model=badnets.model, clean_set=badnets.clean_set, inputs=images)
        view = DefenderView(
            evidence, defense.needs, spec=badnets.spec, recipe=badnets.recipe, seed=0, device=CPU
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
