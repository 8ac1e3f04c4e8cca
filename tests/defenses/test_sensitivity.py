from collections.abc import Callable

import pytest
import torch

from bdb.defenses.post_training.d_br import BackdoorRemoval
from bdb.defenses.sensitivity import centres_alike
from bdb.models.base import Classifier
from bdb.testing import Lab
from bdb.training.loop import Batch


@pytest.mark.parametrize(
    ("rows", "labels", "expected"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 4, 7], 0.0),
        ([[1, 0, 0], [1, 0, 0], [0, 0, 1]], [0, 4, 7], 1 / 3),
        ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], [2, 2, 3], 1.0),  # of centres, not of samples
        ([[1, 0, 0], [0, 1, 0]], [5, 5], 0.0),  # a single class is like no other
    ],
)
def test_classes_are_as_alike_as_their_centres(
    first_row: Classifier,
    batch_of: Callable[..., Batch],
    rows: list[list[int]],
    labels: list[int],
    expected: float,
) -> None:
    batch = batch_of(torch.tensor(rows), torch.tensor(labels))
    found = centres_alike(first_row, batch)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-3, rtol=0)


def test_what_is_not_transformed_does_not_change(badnets: Lab) -> None:
    images = badnets.train_set.images[:100]
    still = BackdoorRemoval(rotation=0, translation=0)
    view = badnets.view(still)
    assert still.changes(view, badnets.model, images).abs().max() < 1e-6
    moving = BackdoorRemoval()
    changes = moving.changes(view, badnets.model, images)
    assert changes.shape == (100,)
    assert (changes > 0).all()


@pytest.mark.parametrize(("clean", "poison"), [(0.2, 0.05), (1e-9, 1e-9)])
def test_the_least_and_the_most_sensitive_are_taken(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch, clean: float, poison: float
) -> None:
    data = badnets.train_set
    moves = torch.rand(len(data), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(BackdoorRemoval, "parted", lambda *_: badnets.model)
    monkeypatch.setattr(BackdoorRemoval, "changes", lambda *_: moves)
    defense = BackdoorRemoval(clean=clean, poison=poison)
    scores, least, most = defense.sort(badnets.view(defense), data)
    assert torch.equal(scores, moves)
    assert int(least.sum()) == max(1, round(clean * len(data)))
    assert int(most.sum()) == max(1, round(poison * len(data)))
    assert moves[least].max() < moves[~least].min()
    assert moves[most].min() > moves[~most].max()
