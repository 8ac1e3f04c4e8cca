import torch

from bdb.attacks import pictures


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def low_share(picture: torch.Tensor) -> float:
    """The share of the variance that lies in waves of an eighth of each side or longer."""
    height, width = picture.shape[1:]
    power = torch.fft.fft2(picture - picture.mean((1, 2), keepdim=True)).abs().square()
    rows, columns = (torch.fft.fftfreq(side).abs() * side <= 8 for side in (height, width))
    return float(power[:, rows][:, :, columns].sum() / power.sum())


def test_a_picture_is_smooth_and_noise_is_not() -> None:
    for shape in ((3, 32, 32), (1, 64, 48)):
        assert low_share(pictures.draw("picture", shape, seeded())) > 0.999
        assert low_share(pictures.draw("noise", shape, seeded())) < 0.5


def test_each_channel_of_a_picture_takes_up_the_whole_range() -> None:
    for shape in ((3, 32, 32), (1, 28, 20), (3, 8, 8), (3, 16, 64)):
        picture = pictures.draw("picture", shape, seeded())
        assert picture.shape == shape
        assert bool((picture.amin((1, 2)) == 0).all())
        assert torch.allclose(picture.amax((1, 2)), torch.ones(shape[0]))


def test_a_drawing_has_flat_colours_and_sharp_edges_where_the_picture_is_half_bright() -> None:
    picture, drawing = (pictures.draw(p, (3, 32, 32), seeded()) for p in ("picture", "drawing"))
    assert torch.equal(drawing, (picture > 0.5).float())
    assert 0.2 < float(drawing.mean()) < 0.8
    assert low_share(drawing) < 0.99 < low_share(picture)


def test_the_same_seed_draws_the_same_picture() -> None:
    first, again = (pictures.draw("picture", (3, 32, 32), seeded()) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, pictures.draw("picture", (3, 32, 32), seeded(1)))


def test_a_filter_keeps_the_mean_and_takes_the_details() -> None:
    noise = torch.rand(3, 28, 20, generator=seeded())
    smooth = pictures.low_pass(noise, 3.0)
    assert torch.allclose(smooth.mean((1, 2)), noise.mean((1, 2)), atol=1e-6)
    assert smooth.std() < 0.2 * noise.std()


def test_nothing_stretched_stays_nothing() -> None:
    assert bool((pictures.stretch(torch.zeros(3, 4, 4)) == 0).all())


def test_photographs_have_waves_as_high_as_they_are_long() -> None:
    """Over a hundred pictures the amplitudes fall as the inverse of the frequency."""
    found = pictures.photographs(100, (1, 64, 64), seeded())
    amplitudes = torch.fft.fft2(found).abs().square().mean((0, 1)).sqrt()
    for first, second in ((2, 8), (4, 16), (3, 24)):
        ratio = float(amplitudes[0, first] / amplitudes[0, second])
        assert 0.7 * second / first < ratio < 1.4 * second / first


def test_each_photograph_takes_up_the_whole_range_and_its_channels_have_much_in_common() -> None:
    found = pictures.photographs(5, (3, 28, 20), seeded())
    assert found.shape == (5, 3, 28, 20)
    assert bool((found.amin((1, 2, 3)) == 0).all())
    assert torch.allclose(found.amax((1, 2, 3)), torch.ones(5))
    many = pictures.photographs(200, (3, 16, 16), seeded())
    centred = many - many.mean((2, 3), keepdim=True)
    red, green = (centred[:, channel] for channel in (0, 1))
    shared = (red * green).sum() / (red.norm() * green.norm())
    assert 0.3 < float(shared) < 0.7
