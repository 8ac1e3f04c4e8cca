from bdb.metrics.quality import psnr
from bdb.testing import Lab, lab


def victim() -> Lab:
    return lab("ftrojan")


def test_faint_waves_in_the_colours_are_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    assert accuracy >= 0.97
    assert success >= 0.97


def test_nobody_sees_the_trigger() -> None:
    triggered = victim().poison.test
    before = victim().test.of(triggered.ids).images
    assert float(psnr(before, triggered.images).min()) > 40
    assert int((triggered.images.int() - before.int()).abs().max()) <= 8
