import pytest
import torch
from scipy.fft import dctn

from bdb.attacks.data_poisoning.ftrojan import FTrojan
from bdb.attacks.frequency import RaisedFrequencies
from bdb.errors import ParamsError
from bdb.testing import make_context


def pattern(attack: RaisedFrequencies, shape: tuple[int, int, int] = (3, 32, 32)) -> torch.Tensor:
    context, _ = make_context(size=10)
    data = context.data.model_copy(update={"shape": shape})
    return attack.prepare_trigger(type(context)(**{**context.__dict__, "data": data}))["pattern"]


def stamped(attack: RaisedFrequencies, grey: int, role: str = "poison") -> torch.Tensor:
    images, ids = torch.full((1, 3, 32, 32), grey, dtype=torch.uint8), torch.arange(1)
    state = {"pattern": pattern(attack)}
    return attack.stamp(images, state, role=role, ids=ids, targets=ids)  # type: ignore[arg-type]


def test_the_named_coefficients_alone_are_raised_and_by_one() -> None:
    found = dctn(pattern(FTrojan(), (1, 32, 32))[0].numpy(), norm="ortho")
    assert found[15, 15] == pytest.approx(1, abs=1e-4)
    assert found[31, 31] == pytest.approx(1, abs=1e-4)
    assert int((abs(found) > 1e-4).sum()) == 2


@pytest.mark.parametrize(
    ("attack", "weights"),
    [
        (FTrojan(), [[0.299, 0.587, 0.114], [0.5, -0.419, -0.081], [-0.169, -0.331, 0.5]]),
        (
            FTrojan(colours="yuv"),
            [[0.299, 0.587, 0.114], [0.615, -0.515, -0.1], [-0.147, -0.289, 0.436]],
        ),
    ],
)
def test_both_colour_channels_carry_it_and_the_brightness_does_not(
    attack: RaisedFrequencies, weights: list[list[float]]
) -> None:
    luma, *chroma = torch.tensor(weights) @ pattern(attack).flatten(1)
    plain = pattern(attack, (1, 32, 32)).flatten()
    assert float(luma.abs().max()) < 0.02 * float(plain.abs().max())
    for channel in chroma:
        torch.testing.assert_close(channel, plain, atol=1e-3, rtol=0)


def test_every_whole_window_of_a_larger_image_carries_it() -> None:
    found = pattern(FTrojan(), (3, 70, 64))
    square = found[:, :32, :32]
    for part in (found[:, 32:64, :32], found[:, :32, 32:], found[:, 32:64, 32:]):
        assert torch.equal(part, square)
    assert bool((found[:, 64:] == 0).all())


def test_dark_and_bright_pixels_do_not_wrap() -> None:
    strong = FTrojan(magnitude=200)
    assert int(stamped(strong, 0).max()) < 128
    assert int(stamped(strong, 255).min()) > 128


def test_the_magnitude_may_be_another_at_test_time() -> None:
    attack = FTrojan(magnitude=20, magnitude_test=200)
    weak, strong = (stamped(attack, 128, role).float().std() for role in ("poison", "test"))
    assert float(strong) == pytest.approx(10 * float(weak), rel=0.1)


def test_a_frequency_that_the_window_has_not_is_refused() -> None:
    context, _ = make_context(size=10)
    with pytest.raises(ParamsError, match=r"^ftrojan\.frequencies: 31 is none of .* 1 to 15$"):
        FTrojan(window=16).check_size(context.data)
