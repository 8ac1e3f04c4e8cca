import numpy as np
import pandas as pd
import pytest
import torch

from bdb.analyses import tasks
from bdb.analyses.landscape.landscape import Landscape
from bdb.analyses.weights import Plane, filters
from bdb.testing import lab


def look(attack: str, seed: int = 0) -> pd.DataFrame:
    victim = lab(attack, 0.0 if attack == "none" else 0.1, seed)
    return Landscape(steps=3).run(victim.analyst_view(Landscape.needs)).table


def test_a_random_filter_is_as_long_as_the_models_own() -> None:
    weight = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 0.0]]], [[[0.0, 2.0]]]])
    drawn = filters(weight, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(drawn.flatten(1).norm(dim=1), [5, 0, 2], rtol=1e-6)
    assert abs(torch.cosine_similarity(drawn[0], weight[0], dim=2).item()) < 0.999


def test_a_point_of_the_plane_is_the_model_and_its_share_of_both_directions() -> None:
    model = lab("badnets").model
    plane = Plane(model, torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moved = {name: tensor.clone() for name, tensor in plane.at(0.5, -2).state_dict().items()}
    one, other = plane.directions
    for name, tensor in before.items():
        expected = tensor + 0.5 * one[name] - 2 * other[name] if name in one else tensor
        np.testing.assert_allclose(moved[name], expected, atol=1e-5)
    assert "stem.0.weight" in one
    assert not {"stem.1.weight", "stem.1.bias", "head.bias"} & one.keys()
    assert torch.equal(plane.at(0, 0).head.weight, before["head.weight"])
    assert torch.equal(model.head.weight, before["head.weight"])


def test_the_middle_of_the_table_is_the_model() -> None:
    view = lab("badnets").analyst_view(Landscape.needs)
    table = Landscape(steps=1, reach=0.5, samples=50).run(view).table
    assert sorted(table["x"].unique()) == [-0.5, 0, 0.5]
    assert len(table) == 9
    middle = table[(table["x"] == 0) & (table["y"] == 0)].iloc[0]
    clean, backdoor = (task.measure(view.model) for task in tasks.both(view, 50))
    found = middle[["clean_loss", "c_acc", "backdoor_loss", "asr"]].tolist()
    assert found == pytest.approx([*clean, *backdoor], rel=1e-5)


def test_only_a_backdoor_has_a_valley_where_the_model_lies() -> None:
    tables = {attack: look(attack) for attack in ("badnets", "none")}
    middle = {attack: table.iloc[len(table) // 2] for attack, table in tables.items()}
    for attack, table in tables.items():
        assert middle[attack]["clean_loss"] == table["clean_loss"].min()
    assert middle["badnets"]["backdoor_loss"] < 0.5
    assert middle["none"]["backdoor_loss"] > 3
    near = {a: t[(t["x"].abs() + t["y"].abs()) < 0.4] for a, t in tables.items()}
    assert near["badnets"]["asr"].min() > 0.7
    assert near["none"]["asr"].max() < 0.2
