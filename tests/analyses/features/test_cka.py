from dataclasses import replace

import numpy as np
import pytest
import torch

from bdb.analyses.features.cka import CKA
from bdb.analyses.similarity import cka, gram, grams
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.testing import lab


def look(defended: Classifier, samples: int):
    """The table, with another defended model."""
    view = lab("badnets").analyst_view(CKA.needs)
    return CKA(samples=samples).run(replace(view, given={**view.given, "defended": defended})).table


def test_cka_follows_its_definition() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    other = torch.tensor([[2.0], [0.0], [-2.0]])
    # Y'X = (4, 2): its square is 20; |X'X| = |((2, 1), (1, 2))| = sqrt(10), |Y'Y| = 8.
    assert cka(gram(one), gram(other)) == pytest.approx(20 / (10**0.5 * 8))


def test_cka_heeds_neither_rotation_nor_scale_nor_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 6, generator=generator)
    turned, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    assert cka(gram(features), gram(3 * features @ turned + 5)) == pytest.approx(1)
    assert cka(gram(features), gram(torch.randn(20, 6, generator=generator))) < 0.7


def test_layers_come_in_the_order_of_a_pass_and_wrappers_do_not_matter() -> None:
    victim = lab("badnets")
    images = victim.test.images[:10]
    plain = grams(victim.model, images)
    wrapped = grams(models.wrap(models.duplicate(victim.model), "feature_mask").eval(), images)
    assert next(iter(plain)) == "stem.0"
    assert list(plain)[-1] == "head"
    for name, found in plain.items():
        np.testing.assert_allclose(wrapped[name], found, rtol=1e-4, atol=1e-3)


def test_a_network_sees_as_its_twin() -> None:
    table = look(lab("badnets").model, 50)
    twins = table[(table["one"] == "defended") & (table["other"] == "victim")]
    np.testing.assert_allclose(twins["cka"], 1, rtol=1e-6)


def test_the_backdoor_parts_victim_and_clean_model_where_triggers_are_mixed_in() -> None:
    tuned = lab("badnets").defend("ft", epochs=40, batch_size=32, lr=0.2).model
    table = look(tuned, 200)
    last = table[table["layer"] == "head"].set_index(["one", "other", "split"])["cka"]
    parted = last["victim", "clean model", "mixed"]
    assert parted < last["victim", "clean model", "clean"] - 0.1
    assert parted < last["defended", "clean model", "mixed"] - 0.05
