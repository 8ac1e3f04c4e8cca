import pytest
import torch

from bdb.attacks import trials, victims
from bdb.attacks.data_poisoning.badnets import BadNets
from bdb.testing import make_context
from bdb.training.recipes import Recipe


def search(worth: list[float], count: int, rounds: int) -> tuple[list[int], list[list[int]]]:
    """What is chosen of candidates of this worth, and what each round tried."""
    tried: list[list[int]] = []

    def success(positions: torch.Tensor, number: int) -> torch.Tensor:
        assert number == len(tried)
        tried.append(positions.tolist())
        return torch.tensor(worth)[positions]

    return trials.best(len(worth), count, rounds, success).tolist(), tried


def test_without_a_trial_the_first_are_chosen() -> None:
    assert search([0.1, 0.2, 0.9], 2, 0) == ([0, 1], [])


def test_the_worse_half_gives_way_to_what_is_untried() -> None:
    chosen, tried = search([0.1, 0.2, 0.8, 0.7, 0.3, 0.9], 3, 2)
    assert tried == [[0, 1, 2], [2, 1, 3]]
    assert chosen == [2, 3, 4]


def test_in_many_rounds_the_best_are_found() -> None:
    worth = torch.rand(30, generator=torch.Generator().manual_seed(0)).tolist()
    best = sorted(range(30), key=lambda i: -worth[i])[:6]
    assert search(worth, 6, 30)[0] == best


def test_all_candidates_may_be_tried_at_once() -> None:
    assert search([0.1, 0.5], 5, 2) == ([1, 0], [[0, 1], [1, 0]])


def test_a_stamp_that_works_succeeds() -> None:
    """Of a victim of BadNets; images as they are go to their target by mistake alone."""
    attack = BadNets()
    context, _ = make_context(size=700, recipe=Recipe(epochs=6, batch_size=32, lr=0.05))
    context = victims.planned(attack, 0.2, context)
    state = attack.prepare_trigger(context)

    def stamp(images: torch.Tensor) -> torch.Tensor:
        ids = torch.arange(len(images))
        return attack.stamp(images, state, role="test", ids=ids, targets=ids)

    works, fails = trials.success(attack, context, state, (stamp, lambda images: images), 0)
    assert works > 0.7
    assert fails < 0.2


def test_it_is_tried_on_images_that_were_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = BadNets()
    context, _ = make_context(size=400, recipe=Recipe(epochs=1, batch_size=64))
    context = victims.planned(attack, 0.1, context)
    seen: list[torch.Tensor] = []
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(type(context), "fit", lambda *given, **_: seen.append(given[2].images))

    def stamp(images: torch.Tensor) -> torch.Tensor:
        shown.append(images)
        return images

    trials.success(attack, context, attack.prepare_trigger(context), [stamp], 0)
    trained = {image.numpy().tobytes() for image in seen[0]}
    assert not any(image.numpy().tobytes() in trained for image in shown[0])
    assert len(seen[0]) + len(shown[0]) == 400


def test_where_no_image_is_left_nothing_succeeds() -> None:
    attack = BadNets()
    context, _ = make_context(size=50, recipe=Recipe(epochs=1, batch_size=16))
    context = victims.planned(attack, 1.0, context)
    state = attack.prepare_trigger(context)
    assert trials.success(attack, context, state, [lambda images: images], 0).tolist() == [0]
