"""Small maps laid side by side give what a plain convolution gives."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bdb.training import device as devices
from bdb.training import wide
from bdb.training.wide import SideBySide

BF16 = torch.bfloat16


def tensors(images: tuple[int, ...], channels: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, generator=generator).to(BF16)
    w = (torch.randn(channels, images[1], 3, 3, generator=generator) / 30).to(BF16)
    b = torch.randn(channels, generator=generator).to(BF16)
    return x.requires_grad_(), w.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(32, 16, 4, 4), (8, 16, 7, 3), (24, 16, 3, 8), (5, 16, 8, 7)])
def test_outputs_and_gradients_are_those_of_a_convolution(
    shape: tuple[int, ...], stride: int
) -> None:
    x, w, b = tensors(shape, 24)
    plain = torch.conv2d(x, w, b, stride, 1)
    ours = wide.conv2d(x, w, b, stride)
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn_like(plain)
    for one, other in zip(
        torch.autograd.grad(plain, (x, w, b), upstream),
        torch.autograd.grad(ours, (x, w, b), upstream),
        strict=True,
    ):
        assert float((one - other).abs().max()) <= 0.02 * float(one.abs().max())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the images that are laid side by side from here on."""
    seen: list[tuple[int, ...]] = []
    convolve = wide.conv2d

    def spy(images: Tensor, *rest: Any) -> Tensor:
        seen.append(tuple(images.shape))
        return convolve(images, *rest)

    monkeypatch.setattr(wide, "conv2d", spy)
    return seen


@pytest.mark.parametrize(
    ("layer", "images", "is_slow"),
    [
        (nn.Conv2d(128, 128, 3, padding=1), (16, 128, 8, 8), True),
        (nn.Conv2d(128, 128, 3, padding=1, bias=False), (24, 128, 3, 3), True),
        (nn.Conv2d(128, 192, 3, stride=2, padding=1), (16, 128, 16, 16), True),
        (nn.Conv2d(128, 128, 3, padding=1), (16, 128, 16, 16), False),
        (nn.Conv2d(128, 128, 3, padding=1), (4, 128, 8, 8), False),
        (nn.Conv2d(128, 128, 3, padding="same"), (16, 128, 8, 8), False),
        (nn.Conv2d(128, 128, 3, stride=(1, 2), padding=1), (16, 128, 8, 8), False),
        (nn.Conv2d(128, 128, 3), (16, 128, 8, 8), False),
        (nn.Conv2d(128, 128, 1), (16, 128, 8, 8), False),
        (nn.Conv2d(128, 128, 3, padding=1, groups=128), (16, 128, 8, 8), False),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), (16, 128, 8, 8), False),
        (nn.Conv2d(3, 128, 3, padding=1), (16, 3, 8, 8), False),
    ],
)
def test_only_what_is_slow_is_laid_side_by_side(
    layer: nn.Conv2d, images: tuple[int, ...], is_slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = counted(monkeypatch)
    x = torch.randn(images)
    with torch.autocast("cpu", BF16):
        plain = layer(x)
        with SideBySide():
            ours = layer(x)
    assert seen == ([images] if is_slow else [])
    torch.testing.assert_close(ours, plain)


def test_full_precision_stays_full(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    with torch.autocast("cpu", BF16), torch.autocast("cpu", enabled=False), SideBySide():
        made = nn.Conv2d(128, 128, 3, padding=1)(torch.randn(16, 128, 4, 4))
    assert made.dtype == torch.float32
    assert not seen


@pytest.mark.parametrize("has_tiles", [True, False])
def test_training_does_it_where_the_cpu_has_tiles(
    has_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = counted(monkeypatch)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    with devices.autocast(torch.device("cpu")):
        nn.Conv2d(128, 128, 3, padding=1)(torch.randn(16, 128, 4, 4))
    assert bool(seen) == has_tiles
