import torch

from bdb.attacks.data_poisoning.sig import Sig
from bdb.testing import Lab, lab

# As in the preset of digits.
FIELDS = {"target": 3, "amplitude": 6.0, "amplitude_test": 80.0, "frequency": 4.0}


def victim() -> Lab:
    return lab("sig", **FIELDS)


def wave(attack: Sig, role: str) -> torch.Tensor:
    gray = torch.full((2, 3, 8, 32), 128, dtype=torch.uint8)
    ids = torch.arange(2)
    return attack.stamp(gray, {}, role=role, ids=ids, targets=ids).float() - 128  # type: ignore[arg-type]


def test_a_faint_wave_under_true_labels_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    assert accuracy >= 0.97
    assert success >= 0.85


def test_only_pixels_of_the_target_class_change() -> None:
    train, plan = victim().train_set, victim().poison.plan
    assert bool((plan.labels == 3).all())
    assert int(victim().is_poison().sum()) == round(0.1 * len(train))


def test_six_waves_across_the_width() -> None:
    row = wave(Sig(), "poison")[0, 0, 0]
    assert torch.fft.rfft(row).abs().argmax() == 6
    assert 36 <= row.abs().max() <= 40
    assert bool((wave(Sig(), "poison") == row).all()), "the same for rows, channels and images"


def test_the_wave_may_be_stronger_at_test_time() -> None:
    attack = Sig(amplitude=10, amplitude_test=80)
    assert wave(attack, "poison").max() <= 10 < 70 < wave(attack, "test").max()


def test_dark_and_bright_pixels_do_not_wrap() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 4, 32)
    ids = torch.arange(2)
    dark, bright = Sig().stamp(images, {}, role="test", ids=ids, targets=ids)
    assert dark.max() <= 40
    assert bright.min() >= 255 - 40


def test_waves_follow_the_width_whatever_the_height_and_channels() -> None:
    gray = torch.full((1, 1, 20, 40), 128, dtype=torch.uint8)
    ids = torch.arange(1)
    change = Sig().stamp(gray, {}, role="poison", ids=ids, targets=ids).float() - 128
    assert torch.fft.rfft(change[0, 0, 0]).abs().argmax() == 6
    assert bool((change == change[0, 0, 0]).all())
