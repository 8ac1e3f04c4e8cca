import pytest
import torch
from torch import Tensor

from bdb.datasets import corruptions
from bdb.datasets.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from bdb.testing import digits
from bdb.training import seeds

NAMES = list(CORRUPTIONS)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return digits().test.images[:12] / 255


def draws_of(images: Tensor) -> Tensor:
    return seeds.uniform_by_content(images, images[0].numel(), 0).view_as(images)


@pytest.mark.parametrize("name", NAMES)
def test_each_severity_changes_the_images_more(images: Tensor, name: str) -> None:
    before = images.clone()
    draws = draws_of(images)
    found = [corrupt(images, name, severity, draws) for severity in range(SEVERITIES)]
    assert torch.equal(images, before)
    assert all(float(each.min()) >= 0 and float(each.max()) <= 1 for each in found)
    changes = torch.stack([(each - images).square().mean() for each in found])
    assert (changes > 0).all()
    # Half as many pixels fall on the grid that digits were enlarged from, and change less.
    assert int((changes.diff() > 0).sum()) >= (3 if name == "pixelate" else 4)
    assert changes.argmax() == SEVERITIES - 1


@pytest.mark.parametrize("name", NAMES)
def test_no_image_depends_on_the_others(images: Tensor, name: str) -> None:
    together = corrupt(images, name, 2, draws_of(images))
    alone = corrupt(images[3:5], name, 2, draws_of(images[3:5]))
    torch.testing.assert_close(together[3:5], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 8, 8), (2, 3, 24, 32), (2, 3, 33, 70)])
@pytest.mark.parametrize("name", NAMES)
def test_every_shape_stays(name: str, shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for severity in (0, SEVERITIES - 1):
        found = corrupt(images, name, severity, draws_of(images))
        assert found.shape == shape
        assert bool(found.isfinite().all())


def test_noise_is_as_strong_as_it_says() -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    draws = torch.rand(grey.shape, generator=torch.Generator().manual_seed(0))
    noise = corruptions.gaussian_noise(grey, 1, draws) - grey
    assert float(noise.std()) == pytest.approx(0.08, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0, abs=0.003)
    photons = corruptions.shot_noise(grey, 1, draws) - grey
    assert float(photons.std()) == pytest.approx((0.5 / 100) ** 0.5, rel=0.03)
    turned = corruptions.impulse_noise(grey, 4, draws)
    assert float((turned != 0.5).float().mean()) == pytest.approx(0.17, rel=0.05)


@pytest.mark.parametrize(
    "name", ["defocus_blur", "motion_blur", "zoom_blur", "elastic", "pixelate"]
)
def test_what_moves_pixels_leaves_a_grey_image(name: str) -> None:
    grey = torch.full((1, 3, 32, 32), 0.5)
    torch.testing.assert_close(corrupt(grey, name, 4, draws_of(grey)), grey)


def test_compression_without_rounding_is_the_image(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruptions, "_QUANTA", (1e-4,))
    torch.testing.assert_close(
        corruptions.compression(images, 0, images), images, rtol=0, atol=1e-4
    )
