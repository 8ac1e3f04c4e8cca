from typing import Any

import pytest
import torch
import yaml
from scipy.fft import dctn

from bdb import presets
from bdb.attacks.data_poisoning.ctrl import Ctrl
from bdb.metrics.quality import psnr
from bdb.testing import Lab, lab, make_context

FIELDS: dict[str, Any] = yaml.safe_load(presets.text("digits"))["attacks"]["ctrl"]
RATIO = 0.08  # of the whole set: four fifths of the target class
TO_YUV = torch.tensor([[0.299, 0.587, 0.114], [-0.147, -0.289, 0.436], [0.615, -0.515, -0.1]])


def victim() -> Lab:
    return lab("ctrl", RATIO, **FIELDS)


def originals() -> torch.Tensor:
    """The planned training images before they are poisoned: uint8."""
    context, _ = make_context()
    return context.train.of(victim().poison.plan.ids).images


def spectra(before: torch.Tensor, after: torch.Tensor) -> list[torch.Tensor]:
    """How far the coefficients of Y, U and V change, on average over the images: H x W each."""
    change = (after.float() - before.float()).mean(0)
    channels = (TO_YUV @ change.flatten(1)).view_as(change)
    return [torch.from_numpy(dctn(channel.numpy(), norm="ortho")) for channel in channels]


def peaks(spectrum: torch.Tensor) -> set[tuple[int, int]]:
    """Rows and columns of the two largest coefficients."""
    return {divmod(int(place), 32) for place in spectrum.abs().flatten().topk(2).indices}


def test_waves_under_true_labels_are_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert success >= 0.5  # 1.0 in bfloat16, .75 in float32
    assert accuracy >= control.rates(control.model)[0] - 0.03


def test_every_label_stays_and_only_the_target_class_is_poisoned() -> None:
    plan = victim().poison.plan
    context, _ = make_context()
    assert int(plan.is_poison.sum()) == len(plan.ids) == round(RATIO * len(context.train))
    assert torch.equal(victim().train_set.labels, context.train.labels)
    assert bool((plan.labels == FIELDS["target"]).all())


def test_the_spectrum_of_the_change_peaks_where_it_was_put() -> None:
    triggered = victim().poison.test
    clean = victim().test.of(triggered.ids).images
    for before, after in ((clean, triggered.images), (originals(), victim().poison.images)):
        _, *chroma = spectra(before, after)
        assert all(peaks(channel) == {(15, 15), (31, 31)} for channel in chroma)


def test_poisons_are_faint() -> None:
    assert float(psnr(originals(), victim().poison.images).min()) >= 33


def test_where_no_pixel_is_clamped_two_coefficients_of_both_colours_rise_by_the_magnitude() -> None:
    context, _ = make_context(size=10)
    attack, ids = Ctrl(), torch.arange(2)
    grey = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    state = attack.prepare_trigger(context)
    luma, *chroma = spectra(grey, attack.stamp(grey, state, role="poison", ids=ids, targets=ids))
    for channel in chroma:
        for place in (15, 31):
            assert float(channel[place, place]) == pytest.approx(100, rel=0.03)
            channel[place, place] = 0
        assert float(channel.abs().max()) < 5
    assert float(luma.abs().max()) < 5
