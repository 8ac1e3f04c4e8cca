from typing import Any

import pytest
import torch
from torch import nn

from bdb.attacks.training_controlled.grond import level
from bdb.models import surgery
from bdb.models.surgery import lipschitz_bounds, outliers
from bdb.testing import Lab, lab, make_context

# As in the preset of digits.
FIELDS: dict[str, Any] = {"target": 3, "eps": 32.0, "trigger_lr": 4.0}


def victim() -> Lab:
    return lab("grond", 0.05, **FIELDS)


def layer(*scales: float) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution whose channels are alike, and a norm with these scales."""
    conv, norm = nn.Conv2d(2, len(scales), 3), nn.BatchNorm2d(len(scales))
    with torch.no_grad():
        conv.weight.fill_(0.1)
        norm.weight.copy_(torch.tensor(scales))
        norm.bias.copy_(torch.tensor(scales))
    return conv, norm


def test_a_faint_trigger_under_true_labels_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.75


def test_no_channel_stands_out() -> None:
    pairs = surgery.conv_norm_pairs(victim().model, "listed")
    assert len(pairs) > 5
    for conv, norm in pairs:
        assert not outliers(lipschitz_bounds(conv, norm), 3).any()


def test_pruning_by_lipschitz_bounds_finds_nothing() -> None:
    defended = victim().defend("clp", u=3.0).model
    assert defended is not None
    assert victim().rates(defended) == victim().rates(victim().model)


def test_labels_stay_clean() -> None:
    context, _ = make_context()
    plan = victim().poison.plan
    assert torch.equal(context.samples(plan.ids).labels, plan.labels)
    assert bool((plan.labels == 3).all())
    assert int(plan.is_poison.sum()) == round(0.05 * len(context.train))


def test_the_perturbation_is_within_its_radius() -> None:
    perturbation = victim().poison.state["perturbation"]
    assert float(perturbation.abs().max()) == pytest.approx(32 / 255)
    clean = victim().test.images[victim().poison.test.ids]
    assert int((victim().poison.test.images.int() - clean.int()).abs().max()) == 32


def test_a_channel_that_stands_out_gets_the_mean_scale_and_bias() -> None:
    scales = [1.0 + 0.1 * (i % 5) for i in range(29)]
    conv, norm = layer(*scales, 10.0)
    mean = (sum(scales) + 10) / 30
    level(conv, norm, 3.0)
    assert norm.weight.tolist() == pytest.approx([*scales, mean])
    assert norm.bias.tolist() == pytest.approx([*scales, mean])


def test_a_channel_whose_weights_stand_out_comes_down_too() -> None:
    conv, norm = layer(*[1.0 + 0.1 * (i % 5) for i in range(30)])
    with torch.no_grad():
        conv.weight[7] *= 100
    assert outliers(lipschitz_bounds(conv, norm), 3).any()
    level(conv, norm, 3.0)
    assert not outliers(lipschitz_bounds(conv, norm), 3).any()
    assert 0 < float(norm.weight[7].detach()) < 0.1
