from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from bdb.analyses.landscape.connectivity import Connectivity, barrier
from bdb.analyses.weights import Path
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.testing import lab


@cache
def tuned() -> Classifier:
    model = lab("badnets").defend("ft", epochs=40, batch_size=32, lr=0.2).model
    assert model is not None
    return model


def walk(defended, **fields):
    view = lab("badnets").analyst_view(Connectivity.needs)
    view = replace(view, given={**view.given, "defended": defended})
    return Connectivity(samples=200, **fields).run(view)


def test_a_network_on_the_way_has_its_share_of_each_weight() -> None:
    path = Path(lab("badnets").model, tuned())
    start, end = lab("badnets").model.state_dict(), tuned().state_dict()
    for t in (0.0, 0.25, 1.0):
        for name, tensor in path.at(t).state_dict().items():
            expected = (1 - t) * start[name].double() + t * end[name].double()
            if tensor.is_floating_point():
                np.testing.assert_allclose(tensor, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("statistics", ["relearned", "interpolated"])
def test_the_ends_are_the_victim_and_its_defended_model(statistics: str) -> None:
    table = walk(tuned(), points=3, batch_norm=statistics).table
    assert table["t"].tolist() == [0, 0.5, 1]
    assert table["asr"].iloc[0] > 0.9
    assert table["asr"].iloc[-1] < 0.2
    assert table["c_acc"].iloc[[0, -1]].min() > 0.9


def test_from_the_victim_to_itself_nothing_changes() -> None:
    table = walk(lab("badnets").model, points=4, batch_norm="interpolated").table
    for column in ("clean_loss", "asr", "c_acc", "backdoor_loss"):
        np.testing.assert_allclose(table[column], table[column].iloc[0], rtol=1e-3, atol=1e-5)


def test_tuning_stays_in_the_valley_and_another_seed_lies_beyond_a_barrier() -> None:
    other = lab("none", 0.0, seed=1).model
    near, far = (walk(model, points=5).table for model in (tuned(), other))
    rises = [barrier(t["t"].to_numpy(), t["clean_loss"].to_numpy()) for t in (near, far)]
    assert rises[1] > 2 * rises[0]


def test_a_barrier_is_what_lies_above_the_line() -> None:
    assert barrier(np.array([0, 0.5, 1]), np.array([1.0, 4.0, 3.0])) == 2
    assert barrier(np.array([0, 0.5, 1]), np.array([1.0, 0.0, 3.0])) == 0


def test_what_is_around_the_network_stays_around_it() -> None:
    wrapped = models.wrap(models.duplicate(tuned()), "stamped", side=2, value=1.0, shift=1).eval()
    table = walk(wrapped, points=2).table
    assert table["c_acc"].max() < 0.5  # All labels are moved by one, at both ends.
