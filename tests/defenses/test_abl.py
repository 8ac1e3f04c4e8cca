import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bdb.datasets.augmentation import Augmentation
from bdb.defenses.abl import AntiBackdoorLearning, ascent, sample_losses
from bdb.defenses.base import Outcome
from bdb.testing import Lab
from bdb.training.loop import Batch

DIGITS = {
    "isolation_epochs": 7,
    "tuning_epochs": 12,
    "tuning_lr": 0.03,
    "unlearning_epochs": 7,
    "unlearning_lr": 2e-4,
    "batch_size": 64,
}


@pytest.fixture(scope="module")
def outcome(badnets: Lab) -> Outcome:
    return badnets.defend("abl", **DIGITS)


@pytest.mark.slow
def test_isolates_poison_by_its_loss(badnets: Lab, outcome: Outcome) -> None:
    from sklearn.metrics import roc_auc_score

    scores, flagged, poison = outcome.scores["train"], outcome.flagged["train"], badnets.is_poison()
    assert int(flagged.sum()) == round(0.01 * len(flagged))
    assert poison[flagged].float().mean() > 0.7
    assert scores[flagged].min() >= scores[~flagged].max()
    assert roc_auc_score(poison, scores) > 0.65


@pytest.mark.slow
def test_unlearns_the_backdoor(badnets: Lab, outcome: Outcome) -> None:
    assert outcome.model is not None
    accuracy, success = badnets.rates(outcome.model)
    assert accuracy > 0.93
    assert success < 0.3


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        pixels=torch.randint(256, (8, 3, 4, 4), generator=generator, dtype=torch.uint8),
        labels=torch.arange(8) % 3,
        ids=torch.arange(8),
        epoch=0,
        augmentation=Augmentation(),
        generator=generator,
    )


def gradient(loss: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, model.parameters())])


@pytest.mark.parametrize("trap", ["flooding", "lga"])
@pytest.mark.parametrize(("gamma", "sign"), [(0.0, 1), (50.0, -1)])
def test_the_trap_turns_the_gradient_below_gamma(trap: str, gamma: float, sign: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    defense = AntiBackdoorLearning.make(trap=trap, gamma=gamma)
    plain = gradient(cross_entropy(model(batch().raw), batch().labels), model)
    trapped = gradient(defense.trapped(model, batch()), model)
    torch.testing.assert_close(trapped, sign * plain)
    assert plain.abs().max() > 0


def test_ascent_goes_the_other_way() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    plain = gradient(cross_entropy(model(batch().raw), batch().labels), model)
    torch.testing.assert_close(gradient(ascent(model, batch()), model), -plain)


def test_losses_do_not_depend_on_the_batches(badnets: Lab) -> None:
    data = badnets.train_set
    whole = sample_losses(badnets.model, data.images[:64], data.labels[:64])
    single = sample_losses(badnets.model, data.images[9:10], data.labels[9:10])
    torch.testing.assert_close(whole[9:10], single, rtol=1e-3, atol=1e-5)
