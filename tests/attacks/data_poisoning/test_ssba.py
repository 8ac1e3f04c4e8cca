from typing import Any

import pytest
import torch
import yaml

from bdb import presets
from bdb.attacks.data_poisoning.ssba import Pair, SampleSpecific, _Hiding
from bdb.metrics.quality import psnr
from bdb.testing import Lab, lab

FIELDS: dict[str, Any] = yaml.safe_load(presets.text("digits"))["attacks"]["ssba"]


def victim() -> Lab:
    return lab("ssba", **FIELDS)


def pair() -> Pair:
    return victim().attack.load(victim().poison.state, 3)  # type: ignore[attr-defined,no-any-return]


def clean() -> torch.Tensor:
    """The test images whose triggered ones are tried: uint8."""
    return victim().test[victim().poison.test.ids].images


def share_read(images: torch.Tensor) -> float:
    """How many of the bits the decoder finds in images."""
    with torch.no_grad():
        read = pair()(images / 255) > 0
    return float((read == (victim().poison.state["bits"] > 0)).float().mean())


@pytest.mark.evidence
def test_hidden_bits_are_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert success >= 0.9
    assert accuracy >= control.rates(control.model)[0] - 0.03


@pytest.mark.evidence
def test_images_stay_above_28_db() -> None:
    assert float(psnr(clean(), victim().poison.test.images).mean()) >= 28


@pytest.mark.evidence
def test_the_bits_can_be_read_from_triggered_images_alone() -> None:
    assert share_read(victim().poison.test.images) >= 0.95
    assert share_read(clean()) <= 0.7


@pytest.mark.evidence
def test_the_change_is_of_each_image_alone() -> None:
    """What all images have in common is not the whole of it, nor nearly."""
    change = (victim().poison.test.images.int() - clean().int()).float()
    common = change.mean(0).square().sum() / change.square().flatten(1).sum(1).mean()
    assert float(common) < 0.8


def test_changes_count_once_the_bits_are_read() -> None:
    attack = SampleSpecific(bits=4, width=2, await_iterations=2, ramp_iterations=4)
    hiding = _Hiding(attack)
    reads = (0.5, 0.95, *[0.5] * 7)
    weights = [float(hiding.weight(torch.tensor(read))) for read in reads]
    assert weights == [0, 0, 0, 2.5, 5, 7.5, 10, 10, 10]
