import pytest
import torch

from bdb.defenses import outliers


def test_deviations_are_in_consistent_absolute_deviations_above_the_median() -> None:
    values = torch.tensor([[1.0, 9.0, 10.0, 11.0, 12.0], [0.0, 20.0, 20.0, 20.0, 20.0]])
    found = outliers.deviations(values)
    torch.testing.assert_close(found[0], torch.tensor([-9.0, -1, 0, 1, 2]) / 1.4826)
    assert torch.equal(outliers.deviations(values[0]), found[0])
    assert bool(found.isfinite().all())


def test_deviations_of_normal_values_are_normal() -> None:
    values = 5 + 3 * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    found = outliers.deviations(values)
    assert float(found.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("count", [3, 4, 10, 43, 200])
def test_so_many_normal_rows_exceed_the_critical_value(count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    threshold = outliers.critical(count, 0.05, generator)
    rows = torch.randn(5000, count, generator=generator)
    exceeded = (outliers.deviations(rows).amax(1) > threshold).float().mean()
    assert float(exceeded) == pytest.approx(0.05, abs=0.015)
