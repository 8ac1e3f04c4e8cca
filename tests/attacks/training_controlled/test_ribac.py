from typing import Any

import pytest
import torch

from bdb.attacks.training_controlled.ribac import Ribac
from bdb.metrics import quality
from bdb.models import pruning
from bdb.testing import Lab, check_attack, lab, make_context

# As in the preset of digits.
FIELDS: dict[str, Any] = {
    "compression": 2.0,
    "mask_epochs": 8,
    "mask_lr": 0.02,
    "trigger_lr": 0.001,
}


def victim() -> Lab:
    return lab("ribac", **FIELDS)


@pytest.mark.evidence
def test_a_pruned_victim_has_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.9


@pytest.mark.evidence
def test_one_weight_of_two_is_left_in_every_layer() -> None:
    for name, weight in pruning.layers(victim().model).items():
        left = int((weight != 0).sum())
        assert left == pytest.approx(weight.numel() / 2, abs=1), name
        assert not weight._backward_hooks, name


@pytest.mark.evidence
def test_the_trigger_is_within_four_grey_levels() -> None:
    triggered = victim().poison.test
    clean = victim().test.images[triggered.ids]
    difference = (triggered.images.int() - clean.int()).abs()
    assert 1 <= int(difference.max()) <= 4
    assert float(quality.psnr(clean, triggered.images).min()) >= 36


@pytest.mark.evidence
def test_no_sample_is_poisoned_for_good() -> None:
    context, _ = make_context()
    assert len(victim().poison.plan.ids) == 0
    assert torch.equal(victim().train_set.images, context.train.images)


def test_each_class_has_a_trigger_of_its_own() -> None:
    images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    state = {"perturbations": torch.tensor([0.0, 4 / 255]).view(2, 1, 1, 1).expand(2, 3, 4, 4)}
    ids = torch.arange(2)
    stamped = Ribac().stamp(images, state, role="test", ids=ids, targets=torch.tensor([1, 0]))
    assert stamped[:, 0, 0, 0].tolist() == [104, 100]


@pytest.mark.evidence
def test_only_classes_that_are_asked_for_learn_a_trigger() -> None:
    perturbations = victim().poison.state["perturbations"]
    assert bool(perturbations[0].any())
    assert not bool(perturbations[1:].any())


def test_the_contract_holds_without_pruning() -> None:
    check_attack(Ribac, compression=1.0)
