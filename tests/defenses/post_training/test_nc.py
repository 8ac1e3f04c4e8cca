import pytest
import torch

from bdb.defenses.post_training.nc import NeuralCleanse, Triggers, anomaly
from bdb.testing import Lab, lab

QUICK = {"rounds": 8, "batch_size": 16, "patience": 2}
UNLEARN = {"unlearning_epochs": 20, "unlearning_batch_size": 64}


@pytest.mark.slow
def test_names_the_target_and_unlearns_it(badnets: Lab) -> None:
    outcome = badnets.defend("nc", **QUICK, **UNLEARN)
    assert outcome.verdict is not None
    assert outcome.verdict["backdoored"]
    assert 0 in outcome.verdict["targets"]
    assert outcome.verdict["score"] > 3.5
    found = outcome.evidence
    assert int(found["norm"].argmin()) == int(found["anomaly_index"].argmax()) == 0
    torch.testing.assert_close(found["mask"].flatten(1).sum(1), found["norm"])
    shown = found["trigger"].amax(1, keepdim=True)
    assert (shown <= found["mask"]).all()  # Nothing shows where the mask is not.
    assert outcome.model is not None
    before, after = badnets.rates(badnets.model), badnets.rates(outcome.model)
    assert before[1] > 0.95
    assert after[1] < 0.3
    assert after[0] > before[0] - 0.04


@pytest.mark.slow
def test_leaves_a_clean_model_unchanged() -> None:
    clean = lab("none", 0.0)
    outcome = clean.defend("nc", **QUICK, **UNLEARN)
    assert outcome.verdict is not None
    assert (outcome.verdict["backdoored"], outcome.verdict["targets"]) == (False, [])
    assert outcome.verdict["score"] < 2
    assert outcome.model is not None
    expected = clean.model.state_dict()
    for name, tensor in outcome.model.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_a_class_is_searched_alone_whatever_its_group(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    defense = NeuralCleanse(rounds=1, batch_size=96)
    together = defense.reverse(badnets.view(defense))
    monkeypatch.setattr("bdb.defenses.post_training.nc._FORWARD", 300)
    apart = defense.reverse(badnets.view(defense))
    torch.testing.assert_close(together.mask, apart.mask, rtol=0, atol=1e-3)


def test_anomaly_index_of_the_paper() -> None:
    norms = torch.tensor([1.0, 9.0, 10.0, 11.0, 12.0])
    index = anomaly(norms)
    assert index[0] == pytest.approx(9 / 1.4826)
    assert index.argmax() == 0
    assert index[4] < 0  # a large trigger is not a backdoor's


def test_equal_norms_are_no_anomaly() -> None:
    assert torch.equal(anomaly(torch.full((10,), 7.0)), torch.zeros(10))


def test_stamping_puts_the_pattern_under_the_mask() -> None:
    mask = torch.zeros(2, 1, 4, 4)
    mask[1, :, 0, 0] = 1
    triggers = Triggers(mask, torch.full((2, 3, 4, 4), 0.75))
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    stamped = triggers.stamp(images).view(2, 5, 3, 4, 4)
    assert torch.equal(stamped[0], images)
    assert (stamped[1, :, :, 0, 0] == 0.75).all()
    assert torch.equal(stamped[1, :, :, 1:], images[:, :, 1:])
