from dataclasses import replace
from typing import Any

import torch

from bdb import registry
from bdb.analyses.neurons.architecture import Architecture
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.testing import lab


def view_of(model: models.Classifier):
    view = lab("none", 0.0).analyst_view(Architecture.needs)
    return replace(view, given={"model": model}, data=model.spec.data)


def built(name: str, **fields: Any) -> models.Classifier:
    data = lab("none", 0.0).spec.data
    return models.build(ModelSpec(architecture=name, fields=fields, data=data), 0).eval()


def test_convnet_by_hand() -> None:
    """Width 4 on 3 x 32 x 32: the stem halves the size, and so do the second and third block."""
    table = Architecture().run(view_of(built("convnet", width=4))).table.set_index("layer")
    expected = {
        "stem.0": ("Conv2d", "4 x 16 x 16", 4 * 3 * 9, 4 * 3 * 9 * 16 * 16),
        "stem.1": ("BatchNorm2d", "4 x 16 x 16", 8, 0),
        "stem.2": ("ReLU", "4 x 16 x 16", 0, 0),
        "layer1.conv1": ("Conv2d", "4 x 16 x 16", 4 * 4 * 9, 4 * 4 * 9 * 16 * 16),
        "layer1.shortcut.0": ("Conv2d", "4 x 16 x 16", 4 * 4, 4 * 4 * 16 * 16),
        "layer2.conv1": ("Conv2d", "8 x 8 x 8", 8 * 4 * 9, 8 * 4 * 9 * 8 * 8),
        "layer3.conv2": ("Conv2d", "16 x 4 x 4", 16 * 16 * 9, 16 * 16 * 9 * 4 * 4),
        "pool": ("AdaptiveAvgPool2d", "16 x 1 x 1", 0, 0),
        "head": ("Linear", "10", 16 * 10 + 10, 16 * 10),
    }
    for name, row in expected.items():
        assert tuple(table.loc[name, ["kind", "output", "parameters", "macs"]]) == row
    assert list(table.index[:4]) == ["stem.0", "stem.1", "stem.2", "layer1.conv1"]
    assert table.index[-1] == "head"


def test_nothing_is_counted_twice_or_left_out() -> None:
    for name in ("preactresnet18", "vit_b_16"):
        model = built(name)
        table = Architecture().run(view_of(model)).table
        assert table["parameters"].sum() == sum(weight.numel() for weight in model.parameters())
        assert table["layer"].is_unique


def test_attention_is_counted_where_it_happens() -> None:
    """Per block: four projections, and two products of 197 tokens with each other."""
    table = Architecture().run(view_of(built("vit_b_16"))).table
    tokens, width = 14**2 + 1, 768
    attention = table.loc[table["kind"] == "MultiheadAttention", "macs"]
    assert len(attention) == 12
    assert (attention == 4 * tokens * width**2 + 2 * tokens**2 * width).all()


def test_pruned_channels_are_zeros() -> None:
    model = built("convnet")
    with torch.no_grad():
        model.get_submodule("layer3.bn2").weight[:5] = 0
        model.get_submodule("layer3.conv2").weight[:5] = 0
    table = Architecture().run(view_of(model)).table.set_index("layer")
    assert table.loc["layer3.conv2", "zeros"] == 5 * 64 * 9
    assert table.loc["layer3.bn2", "zeros"] == 5 + 64  # a fresh bias is 0
    assert table.loc["head", "zeros"] == 0


def test_a_defended_model_and_an_ensemble_can_be_looked_at() -> None:
    one = built("convnet", width=2)
    both = models.wrap(one, "ensemble", built("convnet", width=2), vote="mean")
    alone, together = (
        Architecture().run(view_of(model)).table[["parameters", "macs"]].sum()
        for model in (built("convnet", width=2), both)
    )
    assert (together == 2 * alone).all()


def test_many_layers_are_drawn_as_blocks() -> None:
    picture = Architecture(bars=8).run(view_of(built("preactresnet18")))
    assert len(picture.figure.axes[0].get_yticks()) <= 8
    assert len(picture.table) > 40


def test_the_model_keeps_no_hook() -> None:
    model: Any = built("convnet")
    Architecture().run(view_of(model))
    assert not any(module._forward_hooks for module in model.modules())
    assert registry.get("analysis", "architecture") is Architecture
