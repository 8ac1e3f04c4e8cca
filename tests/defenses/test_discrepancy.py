import pytest
import torch

from bdb.defenses.discrepancy import between


def gaussian(seed: int, rows: int) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))


def test_sets_of_two_kinds_are_further_apart_than_sets_of_one() -> None:
    alike = between(gaussian(0, 200), gaussian(1, 100))
    assert alike < 1.0
    assert between(gaussian(0, 200), gaussian(1, 100) + 2) > 10 * alike


def test_more_rows_are_surer() -> None:
    few = between(gaussian(0, 20), gaussian(1, 20) + 2)
    assert between(gaussian(0, 200), gaussian(1, 200) + 2) > 5 * few


def test_of_points_it_is_what_the_kernel_says() -> None:
    zeros, ones = torch.zeros(2, 1), torch.ones(2, 1)
    kernel = sum(torch.exp(torch.tensor(-1 / (0.5 * 2.0**k))) for k in range(-2, 3)) / 5
    assert between(zeros, ones) == pytest.approx(float(2 - 2 * kernel), rel=1e-5)


def test_one_row_is_no_set() -> None:
    assert between(gaussian(0, 1), gaussian(1, 9)) == 0.0
