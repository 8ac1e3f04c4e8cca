from dataclasses import replace

import numpy as np
import pytest
import torch

from bdb.analyses.neurons.lipschitz import Lipschitz, correlations
from bdb.models import base as models
from bdb.testing import lab, silenced


def test_the_bound_and_the_change_of_a_channel_by_hand(view_of) -> None:
    """The stem is linear, so a channel with four times the weight has four times of both."""
    grown = models.duplicate(lab("badnets").model).eval()
    with torch.no_grad():
        grown.stem[0].weight[5] *= 4
    tables = []
    for model in (lab("badnets").model, grown):
        view = view_of("badnets")
        view = replace(view, given={**view.given, "model": model})
        table = Lipschitz().run(view).table
        tables.append(table[table["layer"] == "stem.1"].set_index("channel"))
    before, after = tables
    for column in ("bound", "tac"):
        ratio = after[column] / before[column]
        np.testing.assert_allclose(ratio, np.where(ratio.index == 5, 4, 1), rtol=1e-4)
    conv, norm = lab("badnets").model.stem[:2]
    largest = np.linalg.svd(conv.weight[5].detach().flatten(1))[1][0]
    scale = (norm.weight[5] / (norm.running_var[5] + norm.eps) ** 0.5).item()
    assert before["bound"][5] == pytest.approx(largest * abs(scale), rel=1e-4)


def test_a_planted_channel_stands_out_in_both_and_is_cut(view_of) -> None:
    view = view_of("badnets")
    grown = models.duplicate(view.model).eval()
    with torch.no_grad():
        grown.stem[0].weight[5] *= 10
    table = Lipschitz().run(replace(view, given={**view.given, "model": grown})).table
    stem = table[table["layer"] == "stem.1"]
    assert stem.loc[stem["cut"], "channel"].tolist() == [5]
    assert stem["share"].argmax() == 5
    assert correlations(table)["stem.1"] > 0.3


def test_what_is_cut_is_what_clp_prunes(view_of) -> None:
    table = Lipschitz(u=2.0).run(view_of("badnets")).table
    pruned = lab("badnets").defend("clp", u=2.0).model
    assert pruned is not None
    told = table.loc[table["cut"], ["layer", "channel"]]
    assert sorted(map(tuple, told.to_numpy().tolist())) == sorted(silenced(pruned))
    assert len(told) > 2


def test_a_trigger_that_moves_nothing_goes_with_nothing(view_of) -> None:
    picture = Lipschitz().run(view_of("none"))
    assert (picture.table["tac"] == 0).all()
    assert np.isnan(list(correlations(picture.table).values())).all()
    assert "moves nothing" in " ".join(picture.figure.get_supxlabel().split())


def test_rank_correlation_by_hand(view_of) -> None:
    table = Lipschitz().run(view_of("badnets")).table
    rows = table[table["layer"] == "layer2.bn1"]
    gaps = rows["bound"].rank() - rows["tac"].rank()
    expected = 1 - 6 * (gaps**2).sum() / (32 * (32**2 - 1))
    assert correlations(table)["layer2.bn1"] == pytest.approx(expected, rel=1e-6)
