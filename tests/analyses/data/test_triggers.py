import dataclasses
from pathlib import Path

import numpy as np
import torch

from bdb.analyses import common
from bdb.analyses.data.triggers import Triggers
from bdb.report import style


def test_psnr_and_ssim_follow_their_definitions(view_of) -> None:
    view = view_of("badnets")
    table = Triggers().run(view).table
    images, originals = view.triggered.images.double(), view.originals().images.double()
    squared = ((images - originals) / 255).square().mean((1, 2, 3))
    np.testing.assert_allclose(table["psnr"], -10 * squared.log10().numpy(), rtol=1e-5)
    assert len(table) == len(view.triggered.labels)
    assert table["ssim"].between(0.9, 0.999).all()
    assert (table["predicted_triggered"] == table["target"]).mean() > 0.9
    assert (table["predicted_clean"] == table["label"]).mean() > 0.9


def test_the_control_has_no_difference(view_of) -> None:
    table = Triggers(samples=2).run(view_of("none")).table
    assert np.isinf(table["psnr"]).all()
    assert (table["max_change"] == 0).all()
    assert table["shown"].sum() == 2


def test_the_picture_shows_each_sample_three_times_and_its_figures(view_of) -> None:
    picture = Triggers(samples=5).run(view_of("badnets"))
    images = [axes.images[0].get_array() for axes in picture.figure.axes]
    assert len(images) == 15
    clean, triggered, difference = images[0], images[5], images[10]
    changed = (clean != triggered).any(2)
    assert np.ptp(difference[~changed]) <= 1  # an even grey
    assert np.ptp(difference) > 100
    shown = picture.table[picture.table["shown"]].sort_values(["label", "id"])
    said = [axes.get_xlabel() for axes in picture.figure.axes[10:]]
    assert said == [
        f"{psnr:.1f} dB\nSSIM {ssim:.3f}"
        for psnr, ssim in zip(shown["psnr"], shown["ssim"], strict=True)
    ]


def test_the_same_victim_gives_the_same_bytes(view_of, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        style.save_svg(Triggers(samples=3).run(view_of("badnets")).figure, tmp_path / name)
    written = (tmp_path / "a.svg").read_bytes()
    assert written == (tmp_path / "b.svg").read_bytes()
    assert b"SSIM" in written  # text stays text
    assert b"dc:date" not in written


def test_samples_are_spread_over_the_classes() -> None:
    labels = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    chosen = common.spread(labels, 12, torch.Generator().manual_seed(0))
    assert sorted(labels[chosen].bincount().tolist()) == [3, 4, 5]
    assert len(chosen.unique()) == 12
    again = common.spread(labels, 12, torch.Generator().manual_seed(0))
    assert torch.equal(chosen, again)
    assert len(common.spread(labels, 1000, torch.Generator().manual_seed(0))) == 73


def test_long_class_names_stay_apart(view_of) -> None:
    view = view_of("badnets")
    classes = tuple(f"Speed limit ({limit} km/h)" for limit in (20, 30, 50))
    view = dataclasses.replace(view, data=view.data.model_copy(update={"classes": classes}))
    names = [common.class_name(view, label, width=20) for label in range(3)]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 20
