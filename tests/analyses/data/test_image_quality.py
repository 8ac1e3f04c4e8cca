import numpy as np
import pytest
import torch

from bdb.analyses.data.image_quality import ImageQuality
from bdb.metrics import quality

MEASURES = ["psnr", "ssim", "ms_ssim", "vif"]


def test_psnr_of_a_known_step(view_beside) -> None:
    """Image k is brighter by k: 20 log10(255 / k)."""
    clean = torch.randint(0, 200, (20, 3, 32, 32), dtype=torch.uint8)
    step = torch.arange(20, dtype=torch.uint8)
    table = ImageQuality().run(view_beside(clean, clean + step[:, None, None, None])).table
    table = table.sort_values("id")
    assert np.isinf(table["psnr"].iloc[0])
    expected = 20 * np.log10(255 / np.arange(1, 20))
    np.testing.assert_allclose(table["psnr"].iloc[1:], expected, rtol=1e-5)
    # A step moves the mean alone: variance, and so the information, is all there.
    np.testing.assert_allclose(table["vif"], 1, atol=1e-6)
    assert table["ssim"].is_monotonic_decreasing


def test_rows_are_of_the_images_that_they_name(data_view_of) -> None:
    view = data_view_of("badnets")
    table = ImageQuality(samples=40).run(view).table
    assert len(table) == 40
    rows = torch.searchsorted(view.triggered.ids, torch.tensor(table["id"].to_numpy()))
    clean, triggered = view.originals().images[rows], view.triggered.images[rows]
    for name in MEASURES:
        measured = getattr(quality, name)(clean, triggered).double()
        np.testing.assert_allclose(table[name], measured, rtol=1e-5)


def test_a_patch_is_less_to_see_than_another_image_over_all(data_view_of) -> None:
    patch, over = (
        ImageQuality(samples=100).run(data_view_of(name)).table[MEASURES].median()
        for name in ("badnets", "blended")
    )
    assert patch["ssim"] > over["ssim"] + 0.1
    assert patch["vif"] > over["vif"] + 0.1


def test_the_control_is_all_there(data_view_of) -> None:
    picture = ImageQuality(samples=30).run(data_view_of("none"))
    assert np.isinf(picture.table["psnr"]).all()
    np.testing.assert_allclose(picture.table[["ssim", "ms_ssim"]], 1, atol=1e-5)
    assert "30 of them unchanged" in picture.figure.get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize(("side", "missing"), [(8, ["ms_ssim", "vif"]), (20, ["ms_ssim"])])
def test_what_small_images_have_no_room_for_is_left_out(side, missing, view_beside) -> None:
    clean = torch.randint(0, 200, (10, 1, side, side), dtype=torch.uint8)
    picture = ImageQuality().run(view_beside(clean, clean + 9))
    table = picture.table[MEASURES]
    assert [name for name in MEASURES if table[name].isna().all()] == missing
    assert not table.drop(columns=missing).isna().any(axis=None)
