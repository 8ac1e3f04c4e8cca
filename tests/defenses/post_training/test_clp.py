import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bdb import registry
from bdb.attacks.base import Attack
from bdb.datasets.base import DataSpec
from bdb.defenses.base import DefenderView, Given
from bdb.defenses.post_training.clp import ChannelLipschitzPruning
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import CPU, Lab, digits, make_context, make_lab, silenced
from bdb.training.recipes import Recipe


def zeros(model: Classifier) -> dict[str, list[int]]:
    """The silenced channels, by batch norm."""
    found: dict[str, list[int]] = {}
    for name, channel in silenced(model):
        found.setdefault(name, []).append(channel)
    return found


def narrow(seed: int) -> Lab:
    """A victim of badnets with 8 to 64 channels a layer."""
    attack = registry.get("attack", "badnets").make()
    assert isinstance(attack, Attack)
    context, clean = make_context(seed)
    spec = ModelSpec(architecture="preactresnet18", fields={"width": 8}, data=context.data)
    return make_lab(attack, 0.1, replace(context, spec=spec), clean, digits().test)


@pytest.mark.evidence
def test_weakens_a_backdoor_without_any_data() -> None:
    """On average: where many channels carry the trigger, as on one seed of three, it stays."""
    assert ChannelLipschitzPruning.needs == {"model"}
    before, after = [], []
    for victim in map(narrow, range(3)):
        defended = victim.defend("clp", u=1.5).model
        assert defended is not None
        assert defended is not victim.model
        before.append(victim.rates(victim.model))
        after.append(victim.rates(defended))
    (accuracy, success), (kept, left) = np.mean(before, 0), np.mean(after, 0)
    assert success > 0.9
    assert left < 0.6
    assert kept > accuracy - 0.3


@pytest.mark.parametrize("architecture", ["convnet", "preactresnet18"])
def test_prunes_exactly_the_channel_that_was_blown_up(badnets: Lab, architecture: str) -> None:
    spec = ModelSpec(architecture=architecture, fields={"width": 16}, data=badnets.spec.data)
    model = models.build(spec, seed=0)
    layer = {"convnet": "layer2", "preactresnet18": "layer2.0"}[architecture]
    after = {"convnet": "bn1", "preactresnet18": "bn2"}[architecture]
    norm = model.get_submodule(f"{layer}.{after}")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(0.1)
        model.get_submodule(f"{layer}.conv1").weight[7] *= 20
    defended = run(model)
    assert zeros(defended) == {f"{layer}.{after}": [7]}


@pytest.mark.parametrize("pairing", ["strict", "listed"])
def test_cuts_at_the_start_of_a_block_if_listed(badnets: Lab, pairing: surgery.Pairing) -> None:
    spec = ModelSpec(architecture="preactresnet18", fields={"width": 16}, data=badnets.spec.data)
    model = models.build(spec, seed=0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(0.1)
        model.get_submodule("layer2.0.conv2").weight[7] *= 20
    expected = {"layer2.1.bn1": [7]} if pairing == "listed" else {}
    assert zeros(run(model, pairing=pairing)) == expected


def run(model: Classifier, **fields: object) -> Classifier:
    """Apply the published strength to any model."""
    clp = ChannelLipschitzPruning.make(**fields)
    view = DefenderView(
        Given(model=model), clp.needs, spec=model.spec, recipe=Recipe(), seed=0, device=CPU
    )
    defended = clp.run(view).model
    assert defended is not None
    return defended


@pytest.mark.parametrize("pairing", ["strict", "listed"])
def test_pairs_in_pre_activation_order(badnets: Lab, pairing: surgery.Pairing) -> None:
    spec = ModelSpec(architecture="preactresnet18", fields={"width": 4}, data=badnets.spec.data)
    model = models.build(spec, seed=0)
    names = {module: name for name, module in model.named_modules()}
    pairs = [(names[conv], names[norm]) for conv, norm in surgery.conv_norm_pairs(model, pairing)]
    blocks = [f"layer{layer}.{block}" for layer in range(1, 5) for block in range(2)]
    inside = [(f"{block}.conv1", f"{block}.bn2") for block in blocks]
    # A block's first norm takes in a sum; only the stem's output reaches one as it is.
    between = [(f"{one}.conv2", f"{next_}.bn1") for one, next_ in itertools.pairwise(blocks)]
    expected = [("conv1", "layer1.0.bn1"), *inside]
    assert sorted(pairs) == sorted(expected if pairing == "strict" else expected + between)
    assert len(surgery.batch_norms(model)) == len(expected + between) == 16


class Odd(Classifier):
    """Norms defined in the wrong order, one of them behind an in-place activation."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.norm2, self.norm1 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 10)

    def extract(self, normalized: Tensor) -> Tensor:
        maps = self.norm1(self.conv1(normalized))
        return self.norm2(self.relu(self.conv2(maps))).mean((2, 3))


def test_pairs_follow_the_forward_pass(badnets: Lab) -> None:
    model = Odd(badnets.spec.data).train()
    model.spec = badnets.spec
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert surgery.conv_norm_pairs(model) == [(model.conv1, model.norm1)]
    every = [(model.conv1, model.norm1), (model.conv2, model.norm2)]
    assert surgery.conv_norm_pairs(model, "listed") == every
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_bound_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    conv, norm = nn.Conv2d(5, 3, 3), nn.BatchNorm2d(3)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(3, 5, 3, 3, generator=generator))
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        assert norm.running_var is not None
        norm.running_var.copy_(torch.tensor([4.0, 1.0, 0.0]))
    weights = conv.weight.detach().reshape(3, 5, 9)
    spectral = [float(torch.linalg.svdvals(weight)[0]) for weight in weights]
    scale = [1 / (4 + norm.eps) ** 0.5, 2 / (1 + norm.eps) ** 0.5, 0.5 / norm.eps**0.5]
    expected = torch.tensor([a * b for a, b in zip(spectral, scale, strict=True)])
    torch.testing.assert_close(surgery.lipschitz_bounds(conv, norm), expected)


@pytest.mark.parametrize(("channels", "cut"), [(10, False), (11, True)])
def test_three_deviations_are_out_of_reach_in_narrow_layers(channels: int, cut: bool) -> None:
    """(n - 1) / sqrt(n) exceeds 3 from 11 channels on, if all others are equal."""
    bounds = torch.ones(channels)
    bounds[0] = 1e6
    assert bool(surgery.outliers(bounds, 3).any()) is cut


def test_a_channel_at_the_limit_stays() -> None:
    assert not surgery.outliers(torch.full((7,), 0.1), 0).any()
    assert not surgery.outliers(torch.ones(1), 0).any()
    assert surgery.outliers(torch.tensor([1.0, 1.0, 1.0, 2.0]), 0).tolist() == [False] * 3 + [True]
