"""Images that are made by gradient ascent, and kept plain by jitter, smoothness and long waves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bdb.training.loop import to_bytes

_NOISE = 0.3  # in the waves that an image begins with
_DARKEST = 0.05  # nothing begins darker, or as near to full brightness: it could hardly change


def ascend(
    score: Callable[[Tensor], Tensor],
    start: Tensor,
    generator: torch.Generator,
    *,
    steps: int,
    lr: float,
    jitter: int,
    smoothness: float,
) -> Tensor:
    """Make images of which a score is high.

    Args:
        score: of images, float N x C x H x W in [0, 1]: their sum goes up.
        start: such images.
        generator: of the noise that is added to them, and of the jitter.
        steps: of Adam on the waves that make up the images' log-odds.
        lr: its learning rate.
        jitter: pixels that a step shifts by, at most, around the edges.
        smoothness: weight of the total variation per pixel.

    Returns:
        uint8, N x C x H x W, on the CPU.
    """
    odds = start.clamp(_DARKEST, 1 - _DARKEST).logit()
    scale = _scale(*start.shape[2:]).to(start.device)
    shape = *start.shape[:2], *scale.shape, 2  # real and imaginary
    noise = _NOISE * torch.randn(shape, generator=generator)
    waves = noise.to(start.device).requires_grad_()
    optimizer = torch.optim.Adam([waves], lr)

    def images() -> Tensor:
        spectrum = torch.view_as_complex(waves) * scale
        return (odds + torch.fft.irfft2(spectrum, s=start.shape[2:], norm="ortho")).sigmoid()

    for _ in range(steps):
        now = images()
        shift = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        loss = smoothness * variation(now).sum() - score(now.roll(shift, (2, 3))).sum()
        (waves.grad,) = torch.autograd.grad(loss, waves)
        optimizer.step()
    return to_bytes(images().detach()).cpu()


def variation(images: Tensor) -> Tensor:
    """Total variation per pixel, down and across: N."""
    down, across = images.diff(dim=2).abs(), images.diff(dim=3).abs()
    return down.mean((1, 2, 3)) + across.mean((1, 2, 3))


def _scale(height: int, width: int) -> Tensor:
    """How much a step may change each wave, less the shorter it is: H x (W / 2 + 1)."""
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    periods = frequency * max(height, width)
    return periods.clamp_min(1) ** -0.5
