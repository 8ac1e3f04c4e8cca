import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from bdb.analyses.data.spectrum import Spectrum


def test_a_wave_of_known_size_is_where_it_belongs(view_beside) -> None:
    """Three periods down the image: coefficient 6, and no other."""
    wave = torch.cos(math.pi / 32 * 6 * (torch.arange(32) + 0.5))[:, None].expand(12, 3, 32, 32)
    clean = torch.full((12, 3, 32, 32), 128, dtype=torch.uint8)
    waved = (128 + 100 * wave).round().to(torch.uint8)
    table = Spectrum().run(view_beside(clean, waved)).table.set_index(["down", "across"])
    assert table["change"].idxmax() == (6, 0)
    assert table.loc[(6, 0), "change"] == pytest.approx(100**2 * 32 * 32 / 2, rel=1e-3)
    assert table.loc[(6, 0), "frequency"] == pytest.approx(3 / 32)
    assert table.loc[(0, 0), "clean"] == pytest.approx(128**2 * 32 * 32)
    assert table["clean"].drop((0, 0)).max() < 1e-3


def test_power_sums_up_to_the_squared_change(data_view_of) -> None:
    view = data_view_of("badnets")
    table = Spectrum().run(view).table
    change = view.triggered.images.double() - view.originals().images.double()
    assert table["change"].sum() == pytest.approx(float(change.square().sum((2, 3)).mean()))
    expected = np.square(dctn(change.numpy(), axes=(2, 3), norm="ortho")).mean((0, 1))
    np.testing.assert_allclose(table["change"], expected.ravel(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("attack", ["ftrojan", "ctrl"])
def test_waves_peak_where_they_were_put(attack: str, data_view_of) -> None:
    table = Spectrum().run(data_view_of(attack)).table
    top = table.nlargest(2, "change")
    assert set(zip(top["down"], top["across"], strict=True)) == {(15, 15), (31, 31)}


def test_a_sine_across_has_no_power_down(data_view_of) -> None:
    table = Spectrum().run(data_view_of("sig", frequency=4.0)).table
    top = table.loc[table["change"].idxmax()]
    assert (top["down"], abs(top["across"] - 8)) <= (0, 1)  # four periods


def test_the_control_changes_nothing(data_view_of) -> None:
    picture = Spectrum(samples=20).run(data_view_of("none"))
    assert (picture.table["change"] == 0).all()
    assert "Nothing was changed" in picture.figure.get_supxlabel()


def test_images_that_are_not_square(view_beside) -> None:
    images = torch.randint(0, 256, (8, 1, 20, 32), dtype=torch.uint8)
    table = Spectrum().run(view_beside(images, 255 - images)).table
    assert len(table) == 20 * 32
    assert table["frequency"].max() == pytest.approx(math.hypot(19 / 40, 31 / 64))
