from dataclasses import replace

import numpy as np
import pytest
import torch

from bdb.analyses.base import AnalysisView
from bdb.analyses.neurons.weight_change import WeightChange
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import lab


def victim() -> AnalysisView:
    return lab("badnets").analyst_view(WeightChange.needs)


def look(defended: Classifier):
    view = victim()
    view = replace(view, given={"model": view.model, "defended": defended})
    return WeightChange().run(view)


def test_scaling_and_pruning_are_told_in_numbers() -> None:
    defended = models.duplicate(victim().model)
    norm = defended.layer2.bn1
    with torch.no_grad():
        defended.layer1.conv1.weight *= 1.5
        surgery.prune(norm, torch.arange(norm.num_features) < 3)
    table = look(models.wrap(defended, "feature_mask")).table.set_index("layer")
    scaled, pruned = table.loc["layer1.conv1"], table.loc["layer2.bn1"]
    np.testing.assert_allclose(scaled["changes"], 0.5, rtol=1e-6)
    assert scaled[["relative", "cosine"]].tolist() == pytest.approx([0.5, 1])
    assert list(pruned["changes"]) == [1] * 3 + [0] * 29
    assert (pruned["silenced"], pruned["channels"], pruned["kind"]) == (3, 32, "norm")
    before = torch.cat([victim().model.layer2.bn1.weight, victim().model.layer2.bn1.bias])
    lost = before.detach().view(2, -1)[:, :3].norm() / before.detach().norm()
    assert pruned["relative"] == pytest.approx(float(lost), rel=1e-5)
    rest = table.drop(index=["layer1.conv1", "layer2.bn1"])
    assert (rest["change"] == 0).all()
    assert table["weights"].sum() == sum(p.numel() for p in victim().model.parameters())


def test_tuning_moves_all_layers_and_pruning_few_channels_all_the_way() -> None:
    tuned = look(lab("badnets").defend("ft", epochs=3, batch_size=32, lr=0.05).model).table
    pruned = look(lab("badnets").defend("clp", u=2.0).model).table
    assert (tuned["relative"] > 0.001).all()
    assert tuned["silenced"].sum() == 0
    moved = np.concatenate(pruned["changes"].tolist())
    assert set(moved) == {0, 1}
    assert 0 < moved.sum() == pruned["silenced"].sum() < 0.2 * len(moved)


def test_the_picture_has_a_bar_for_each_layer() -> None:
    picture = look(victim().defended)
    axes = picture.figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == picture.table["relative"].tolist()
    assert [text.get_text() for text in axes.get_yticklabels()] == picture.table["layer"].tolist()


def test_another_network_is_refused() -> None:
    other = models.build(
        ModelSpec(architecture="convnet", data=victim().data, fields={"width": 3}), 0
    )
    with pytest.raises(ParamsError, match="is another network"):
        look(torch.nn.Module.train(other, False))
