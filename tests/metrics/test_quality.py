import math

import pytest
import torch

from bdb import torchvision_ops
from bdb.metrics import quality


def test_psnr_by_hand() -> None:
    clean = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    changed = clean.clone()
    changed[1] += 10
    decibels = quality.psnr(clean, changed)
    assert decibels[0].isinf()
    assert float(decibels[1]) == pytest.approx(20 * math.log10(25.5), abs=1e-4)


def test_ssim_is_one_for_the_same_and_less_for_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    noise = torch.randint(256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    assert torch.allclose(quality.ssim(clean, clean), torch.ones(4), atol=1e-5)
    assert bool((quality.ssim(clean, noise) < 0.3).all())


def test_summary_of_a_trigger_that_changes_nothing() -> None:
    clean = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    assert quality.summary(clean, clean) == {"psnr": None, "ssim": 1.0}


def noisy(side: int, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images and what noise makes of them."""
    coarse = torch.rand(6, 3, side // 8 + 1, side // 8 + 1)
    clean = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255
    noise = (clean + strength * torch.randn(clean.shape)).clamp(0, 255)
    return clean.round().to(torch.uint8), noise.round().to(torch.uint8)


def test_vif_is_torchmetrics_where_all_its_scales_have_room() -> None:
    torchvision_ops.load()
    from torchmetrics.functional.image import visual_information_fidelity

    for side in (41, 64):
        clean, noise = noisy(side, 8.0)
        expected = visual_information_fidelity(noise.double(), clean.double(), reduction="none")
        torch.testing.assert_close(quality.vif(clean, noise), expected.double(), rtol=1e-4, atol=0)


def test_vif_of_a_gain_by_hand() -> None:
    """Half the contrast and no noise: log(1 + s / 4n) over log(1 + s / n) at each pixel."""
    board = torch.arange(17)[:, None] + torch.arange(17)
    clean = (100 + 40 * (board % 2)).to(torch.uint8).expand(1, 1, 17, 17).contiguous()
    halved = (100 + 20 * (board % 2)).to(torch.uint8).expand(1, 1, 17, 17).contiguous()
    variance = 20.0**2  # one window, and half of its weight on either grey
    expected = math.log1p(variance / 4 / 2) / math.log1p(variance / 2)
    assert float(quality.vif(clean, halved)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("measure", [quality.vif, quality.ms_ssim])
def test_small_images_use_fewer_scales_and_tiny_ones_none(measure) -> None:
    for side in (24, 32, 48, 100):
        clean, noise = noisy(side, 8.0)
        torch.testing.assert_close(measure(clean, clean).double(), torch.ones(6).double())
        assert bool((measure(clean, noise) < 0.995).all())
        louder = (clean.float() + 3 * (noise.float() - clean.float())).clamp(0, 255)
        assert bool((measure(clean, louder.to(torch.uint8)) < measure(clean, noise)).all())
    assert bool(measure(*noisy(16, 8.0)).isnan().all())


def test_scales_of_ms_ssim() -> None:
    assert [quality.scales(side, side) for side in (8, 21, 22, 44, 99, 176)] == [0, 1, 2, 3, 4, 5]
    assert quality.scales(176, 32) == 2


def test_ms_ssim_of_two_scales_by_hand() -> None:
    """Contrast at the fine scale times SSIM at the coarse one, each to the power of its weight."""
    clean, noise = (images.double() for images in noisy(32, 20.0))
    line = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2)).double()
    window = (torch.outer(line, line) / line.sum() ** 2).expand(3, 1, 11, 11)

    def mean(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(images, window, groups=3)

    shared = mean(clean * noise) - mean(clean) * mean(noise)
    spread = sum(mean(each.square()) - mean(each).square() for each in (clean, noise))
    limit = (0.03 * 255) ** 2
    contrast = ((2 * shared + limit) / (spread + limit)).mean((1, 2, 3))
    halves = [torch.nn.functional.avg_pool2d(images, 2) for images in (clean, noise)]
    fine, coarse = 0.0448 / (0.0448 + 0.2856), 0.2856 / (0.0448 + 0.2856)
    expected = contrast**fine * quality.ssim(*halves).double() ** coarse
    found = quality.ms_ssim(clean, noise).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
