import pytest
import torch

from bdb.defenses.pre_training.spectral import SpectralSignatures, signature
from bdb.testing import Lab, lab


@pytest.fixture(scope="module")
def victim() -> Lab:
    """Few enough poisons that the target class is still mostly clean, as the method assumes."""
    return lab("badnets", 0.03)


@pytest.mark.slow
def test_removes_poison_and_weakens_the_backdoor(victim: Lab) -> None:
    from sklearn.metrics import roc_auc_score

    outcome = victim.defend("spectral", removed=0.25)
    flagged, poison = outcome.flagged["train"], victim.is_poison()
    assert roc_auc_score(poison, outcome.scores["train"]) > 0.85
    assert flagged[poison].float().mean() > 0.7
    assert outcome.model is not None
    assert victim.rates(victim.model)[1] > 0.9
    accuracy, success = victim.rates(outcome.model)
    assert accuracy > 0.93
    assert success < 0.2


def test_flags_the_same_share_of_every_class(victim: Lab) -> None:
    defense = SpectralSignatures(retrain=False)
    outcome = defense.run(victim.view(defense))
    scores, flagged = outcome.scores["train"], outcome.flagged["train"]
    for label in victim.train_set.labels.unique():
        mine = victim.train_set.labels == label
        assert int(flagged[mine].sum()) == round(0.15 * int(mine.sum()))
        assert scores[mine & flagged].min() >= scores[mine & ~flagged].max()


def test_without_centring_the_larger_part_may_stand_out() -> None:
    """Two thirds lie far out, as poison may: centring makes them the ordinary ones."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(90, 4, generator=generator) / 10
    features[:60] += torch.tensor([5.0, 0.0, 0.0, 0.0])
    centred, raw = signature(features), signature(features, centered=False)
    assert centred[:60].max() < centred[60:].min()
    assert raw[:60].min() > raw[60:].max()
    torch.testing.assert_close(raw.sum(), torch.linalg.matrix_norm(features, 2) ** 2)


def test_signature_is_the_squared_projection_on_the_top_direction() -> None:
    features = torch.zeros(10, 4)
    features[0, 2] = 10.0  # the only direction there is; the mean is 1
    expected = torch.tensor([81.0] + [1.0] * 9)
    torch.testing.assert_close(signature(features), expected)
