from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

from bdb import presets
from bdb.attacks import networks
from bdb.attacks.data_poisoning.poison_ink import Pair, PoisonInk
from bdb.attacks.edges import edges
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.metrics.quality import psnr
from bdb.testing import Lab, lab
from bdb.training import inference
from bdb.training.batches import Batch

FIELDS: dict[str, Any] = yaml.safe_load(presets.text("digits"))["attacks"]["poison_ink"]


def victim() -> Lab:
    return lab("poison_ink", **FIELDS)


def clean() -> torch.Tensor:
    """The test images whose triggered ones are tried: uint8."""
    return victim().test[victim().poison.test.ids].images


def distance(images: torch.Tensor, ink: torch.Tensor) -> float:
    """How far what is revealed in images is from some ink."""
    pair = networks.unpack(lambda: Pair(3, FIELDS["width"]), victim().poison.state, "pair")
    with torch.no_grad():
        return float((pair(images / 255) - ink).square().mean())


@pytest.mark.evidence
def test_hidden_ink_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert success >= 0.9
    assert accuracy >= control.rates(control.model)[0] - 0.03


@pytest.mark.evidence
def test_images_stay_above_33_db() -> None:
    assert float(psnr(clean(), victim().poison.test.images).mean()) >= 33


@pytest.mark.evidence
def test_ink_is_revealed_in_triggered_images_alone() -> None:
    ink = victim().attack.ink(clean() / 255)  # type: ignore[attr-defined]
    blank = float(ink.square().mean())
    assert distance(victim().poison.test.images, ink) < 0.5 * blank
    assert distance(clean(), torch.zeros_like(ink)) < 0.5 * blank


@pytest.mark.evidence
def test_the_backdoor_outlasts_turns_and_crops() -> None:
    triggered = victim().poison.test
    moved = Augmentation(crop_padding=2, rotation=10)(
        triggered.images, torch.Generator().manual_seed(0)
    )
    assert inference.accuracy(victim().model, moved, triggered.targets) >= 0.8


def step_image() -> torch.Tensor:
    """Black on the left, on the right as bright as asked: 1 x 1 x 8 x 8."""
    return (torch.arange(8) >= 4).float().expand(1, 1, 8, 8)


def test_edges_are_where_the_grey_changes() -> None:
    found = edges(step_image(), 28 / 255)
    assert found[0, 0].sum(0).tolist() == [0, 0, 0, 8, 8, 0, 0, 0]
    assert float(edges(step_image() * 28 / 255 / 2, 28 / 255).sum()) == 0, "too faint a slope"


def test_the_ink_has_its_colour_on_white() -> None:
    coloured = 1 - PoisonInk().ink(step_image().expand(1, 3, 8, 8))
    assert (coloured[0, :, 0, 3] * 255).tolist() == pytest.approx([80, 160, 80])
    assert bool((coloured[0, :, :, 0] == 1).all())
    grey = 1 - PoisonInk(colour=(0, 51, 51)).ink(step_image())
    assert float(grey[0, 0, 0, 3] * 255) == pytest.approx(34)


@pytest.mark.evidence
def test_what_is_hidden_hardly_leaves_what_an_image_can_hold() -> None:
    """A clamped change costs nothing, if what is clamped is all that counts."""
    images = clean()[:64] / 255
    pair = networks.unpack(lambda: Pair(3, FIELDS["width"]), victim().poison.state, "pair")
    with torch.no_grad():
        made = pair.hide(images, victim().attack.ink(images))  # type: ignore[attr-defined]
    assert float((made - made.clamp(0, 1)).abs().max()) < 0.5


def test_leaving_the_range_of_images_costs_more_the_farther(
    as_batch: Callable[..., Batch],
) -> None:
    images = torch.full((3, 3, 8, 8), 255, dtype=torch.uint8)
    white = as_batch(ImageSet.whole(images, torch.zeros(3, dtype=torch.int64)))
    attack = PoisonInk(distance_weight=2.0)
    near, far = (float(attack._loss(Moved(by), white)) for by in (1.0, 9.0))
    assert far - near == pytest.approx(2 * (81 - 1), rel=1e-3)


class Moved(Pair):
    """Makes every image brighter by so much, and reveals nothing."""

    def __init__(self, by: float) -> None:
        super().__init__(3, 2)
        self.by = by

    def hide(self, images: torch.Tensor, ink: torch.Tensor) -> torch.Tensor:
        return images + self.by

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(images)
