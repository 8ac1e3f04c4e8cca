from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bdb import registry
from bdb.datasets.base import ImageSet
from bdb.defenses import certificates
from bdb.defenses.base import Defense, Outcome
from bdb.defenses.in_training.dpa import parts
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.testing import Lab, lab
from bdb.training import inference

# Of so few images each part has 57, which 20 networks learn in ten seconds.
STRENGTH = {"partitions": 20, "epochs": 20, "batch_size": 16, "lr": 0.05}


def stands(victim: Lab, outcome: Outcome) -> Callable[[int], float]:
    """Of the test set, the share that is right and certified for so many samples."""
    assert outcome.model is not None
    images, labels = victim.test.images, victim.test.labels
    right = inference.logits(outcome.model, images).argmax(1) == labels
    certified = certificates.of(outcome.model, images, declared())
    return lambda samples: float((right & (certified >= samples)).float().mean())


def declared() -> Defense:
    defense = registry.get("defense", "dpa").make()
    assert isinstance(defense, Defense)
    return defense


@pytest.mark.evidence
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_few_poisons_are_outvoted(seed: int) -> None:
    """ASR 98, 96, 85 falls to 20, 21, 34: six poisons reach six networks of twenty."""
    victim = lab("blended", 0.005, seed)
    defended = victim.defend("dpa", **STRENGTH)
    assert defended.model is not None
    accuracy, success = victim.rates(defended.model)
    assert accuracy > 0.88
    assert success < victim.rates(victim.model)[1] - 0.3
    share = stands(victim, defended)
    assert share(0) == pytest.approx(accuracy)
    assert share(4) > 0.6
    assert share(30) == 0.0, "no more samples than there are networks"


@pytest.mark.evidence
def test_a_tenth_of_poison_wins_every_vote() -> None:
    victim = lab("blended", 0.1)
    model = victim.defend("dpa", **STRENGTH).model
    assert model is not None
    assert victim.rates(model)[1] > 0.9


def random_set(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet.whole(images, torch.randint(10, (count,), generator=generator))


def contents(data: ImageSet) -> list[tuple[Tensor, Tensor]]:
    return [(part.images, part.labels) for part in parts(data, 7)]


def test_a_part_is_told_by_its_samples_alone() -> None:
    data = random_set(200)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    shuffled = ImageSet.whole(data.images[order], data.labels[order])
    for ours, theirs in zip(contents(data), contents(shuffled), strict=True):
        assert ours[0].equal(theirs[0])
        assert ours[1].equal(theirs[1])
    without = contents(ImageSet.whole(data.images[1:], data.labels[1:]))
    changed = [not a[0].equal(b[0]) for a, b in zip(contents(data), without, strict=True)]
    assert sum(changed) == 1, "a sample less changes one part"
    own = int(data.images[0].sum(dtype=torch.int64)) % 7
    assert changed[own]


def test_another_label_changes_one_part() -> None:
    data = random_set(200)
    labels = data.labels.clone()
    labels[3] = (labels[3] + 1) % 10
    relabelled = contents(ImageSet.whole(data.images, labels))
    pairs = list(zip(contents(data), relabelled, strict=True))
    assert all(a[0].equal(b[0]) for a, b in pairs)
    assert sum(not a[1].equal(b[1]) for a, b in pairs) == 1


def test_removing_certified_samples_changes_no_answer(badnets: Lab) -> None:
    """The whole of it: train again without one sample; what was certified for it stays."""
    fields = {"partitions": 5, "epochs": 4, "batch_size": 32, "lr": 0.05}
    defense = registry.get("defense", "dpa").make(**fields)
    assert isinstance(defense, Defense)
    answers, certified = [], []
    for train_set in (badnets.train_set, badnets.train_set[torch.arange(1, 1146)]):
        view = badnets.view(defense)
        view._given = type(view._given)(train_set=train_set)
        model = defense.run(view).model
        assert model is not None
        answers.append(inference.logits(model, badnets.test.images).argmax(1))
        certified.append(certificates.of(model, badnets.test.images, defense))
    firm = certified[0] >= 1
    assert firm.float().mean() > 0.1
    assert (answers[0] == answers[1])[firm].all()


def test_an_unknown_election_is_refused(badnets: Lab) -> None:
    with pytest.raises(ParamsError, match="election 'lot'"):
        models.wrap(badnets.model, "vote", badnets.model, election="lot")
