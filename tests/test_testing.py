from pathlib import Path
from typing import cast

import pytest
import torch

from bdb import registry, testing
from bdb.attacks.base import Attack
from bdb.testing import digits, make_context, make_lab
from bdb.training.recipes import Recipe


@pytest.mark.parametrize("name", ["badnets", "wanet"])
def test_a_kept_victim_is_the_one_that_was_trained(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = cast(Attack, registry.get("attack", name).make())
    context, clean = make_context(size=200, recipe=Recipe(epochs=1, batch_size=64, lr=0.05))
    test = digits().test[torch.arange(40)]

    def made() -> testing.Lab:
        return make_lab(attack, 0.1, context, clean, test, tmp_path / "kept")

    trained = made()

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(testing, "_train", never)
    found = made()
    state = trained.model.state_dict()
    assert all(tensor.equal(state[key]) for key, tensor in found.model.state_dict().items())
    assert found.train_set.images.equal(trained.train_set.images)
    assert found.train_set.labels.equal(trained.train_set.labels)
    assert found.poison.test.images.equal(trained.poison.test.images)
    assert found.is_poison().equal(trained.is_poison())
    assert found.rates(found.model) == trained.rates(trained.model)
