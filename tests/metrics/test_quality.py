import math

import pytest
import torch

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
