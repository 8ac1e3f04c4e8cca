from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

from bdb import presets
from bdb.attacks.data_poisoning.ssba import Pair, SampleSpecific, _Hiding
from bdb.datasets.base import ImageSet
from bdb.metrics.quality import psnr
from bdb.testing import Lab, lab
from bdb.training.batches import Batch

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
def test_images_stay_above_35_db() -> None:
    assert float(psnr(clean(), victim().poison.test.images).mean()) >= 35


@pytest.mark.evidence
def test_the_bits_can_be_read_from_triggered_images_alone() -> None:
    assert share_read(victim().poison.test.images) >= 0.95
    assert share_read(clean()) <= 0.7


@pytest.mark.evidence
def test_the_change_is_of_each_image_alone() -> None:
    """What all images have in common is not the whole of it, nor nearly."""
    change = (victim().poison.test.images.int() - clean().int()).float()
    common = change.mean(0).square().sum() / change.square().flatten(1).sum(1).mean()
    assert float(common) < 0.9


def test_changes_count_once_the_bits_are_read() -> None:
    attack = SampleSpecific(bits=4, width=2, await_iterations=2, ramp_iterations=4)
    hiding = _Hiding(attack)
    reads = (0.5, 0.95, *[0.5] * 7)
    weights = [float(hiding.weight(torch.tensor(read))) for read in reads]
    assert weights == [0, 0, 0, 2.5, 5, 7.5, 10, 10, 10]


@pytest.mark.evidence
def test_what_is_hidden_hardly_leaves_what_an_image_can_hold() -> None:
    """A clamped change costs nothing, if what is clamped is all that counts."""
    images = clean()[:64] / 255
    with torch.no_grad():
        made = pair().hide(images, victim().poison.state["bits"].expand(len(images), -1))
    assert float((made - made.clamp(0, 1)).abs().max()) < 0.5


def test_leaving_the_range_of_images_costs_more_the_farther(
    as_batch: Callable[..., Batch],
) -> None:
    images = torch.full((3, 3, 8, 8), 255, dtype=torch.uint8)
    white = as_batch(ImageSet.whole(images, torch.zeros(3, dtype=torch.int64)))
    attack = SampleSpecific(bits=4, width=2, await_iterations=0, ramp_iterations=1)
    near, far = (float(_Hiding(attack)(Moved(attack, by), white)) for by in (1.0, 9.0))
    assert far - near == pytest.approx(attack.distance_weight * (81 - 1), rel=1e-3)


class Moved(Pair):
    """Makes every image brighter by so much, and reads every bit."""

    def __init__(self, attack: SampleSpecific, by: float) -> None:
        super().__init__(attack, 3)
        self.by = by

    def hide(self, images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        self.bits = bits
        return images + self.by

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 100 * (2 * self.bits - 1)
