from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bdb.defenses.pre_training.flare import Flare, surprises
from bdb.models import surgery
from bdb.testing import Lab, lab

FEW = 0.02


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("ratio", "fields"), [(0.1, {}), (FEW, {}), (0.1, {"target_rule": "all-to-all"})]
)
def test_a_patch_is_found_at_any_ratio_and_in_any_class(
    ratio: float, fields: dict[str, Any], averaged: Callable[..., Any]
) -> None:
    """Over three seeds AUROC .992, 1.000 and .980."""
    victims = (lab("badnets", ratio, seed, **fields) for seed in range(3))
    area, tpr, fpr = averaged(victims, "flare")
    assert area > 0.94
    assert tpr > 0.8
    assert fpr < 0.03


def test_poison_that_is_half_of_its_class_is_found(badnets: Lab, found: Callable[..., Any]) -> None:
    area, tpr, fpr = found(badnets, "flare")
    assert area > 0.93
    assert tpr > 0.8
    assert fpr < 0.03


@pytest.mark.evidence
def test_without_it_there_is_no_backdoor() -> None:
    victim = lab("badnets", FEW)
    model = victim.defend("flare").model
    assert model is not None
    before, after = victim.rates(victim.model), victim.rates(model)
    assert before[1] > 0.9
    assert after[0] > before[0] - 0.05
    assert after[1] < 0.2


@pytest.mark.evidence
def test_a_trigger_that_covers_the_image_surprises_no_layer(averaged: Callable[..., Any]) -> None:
    """AUROC .42, .69 and .61; next to nothing is dropped."""
    area, tpr, _ = averaged((lab("blended", 0.1, seed) for seed in range(3)), "flare")
    assert area < 0.8
    assert tpr < 0.2


def test_a_clean_set_loses_little(detected: Callable[..., Any]) -> None:
    assert detected(lab("none", 0.0), "flare").flagged["train"].float().mean() < 0.04


def cloud(count: int, place: float, seed: int) -> Tensor:
    return place + torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)).double()


def test_what_stands_apart_is_not_of_the_largest_cluster() -> None:
    """Forty make a cluster, three do not; neither is kept."""
    points = torch.cat([cloud(200, 0.0, 0), cloud(40, 30.0, 1), cloud(3, -30.0, 2)])
    kept = Flare(least=20, apart=4.0).largest(points)
    assert kept[:200].float().mean() > 0.95
    assert not kept[200:].any()


def test_one_cluster_is_not_divided() -> None:
    assert Flare(least=20, apart=4.0).largest(cloud(200, 0.0, 0)).float().mean() > 0.95


@pytest.mark.parametrize("points", [torch.zeros(50, 3), torch.zeros(3, 3), torch.zeros(50, 0)])
def test_where_nothing_stands_out_all_is_kept(points: Tensor) -> None:
    assert Flare().largest(points.double()).all()


def test_a_surprise_is_that_of_the_least_likely_input(badnets: Lab) -> None:
    images = badnets.train_set.images[:5]
    name, norm = next(iter(surgery.batch_norms(badnets.model).items()))
    with surgery.recording(badnets.model, [name.replace(".1", ".0")]) as maps, torch.no_grad():
        badnets.model(images.float() / 255)
    (inputs,) = maps.values()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    normal = torch.distributions.Normal(
        norm.running_mean.view(-1, 1, 1), (norm.running_var + norm.eps).sqrt().view(-1, 1, 1)
    )
    constant = torch.log(torch.tensor(2 * torch.pi)) / 2
    expected = -normal.log_prob(inputs).amin((1, 2, 3)) - constant
    torch.testing.assert_close(surprises(badnets.model, images)[:, 0], expected, rtol=0.1, atol=0.1)
