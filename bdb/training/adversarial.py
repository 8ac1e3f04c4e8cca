"""Adversarial training: a step for the one loop, and the search for the images it trains on.

Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018.
Differs: the search runs in evaluation mode, so that batch statistics come from the batch that is
trained on, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.training.loop import Batch, Step

_STRIDE = 2.5  # how often the steps together could cross the radius


def step(eps: int, steps: int) -> Step:
    """Cross-entropy of the worst images within `eps` grey levels (of 255) of the augmented ones."""

    def adversarial(model: nn.Module, batch: Batch) -> Tensor:
        start = 2 * batch.rand(*batch.images.shape) - 1
        worst = search(model, batch.images, batch.labels, eps / 255, steps, start)
        return cross_entropy(model(worst), batch.labels, label_smoothing=batch.label_smoothing)

    return adversarial


def search(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    steps: int,
    start: Tensor,
    stride: float | None = None,
) -> Tensor:
    """Projected gradient ascent of the loss in the linf ball; batch statistics are left alone.

    Args:
        model: takes floats in [0, 1]; its mode is put back.
        images: float32 in [0, 1], N x C x H x W.
        labels: int64, N.
        eps: radius in pixels of [0, 1].
        steps: of the ascent.
        start: in [-1, 1], as the images: where in the ball it begins.
        stride: of a step, in pixels of [0, 1]; 2.5 eps / steps if left out.

    Returns:
        float32 in [0, 1], N x C x H x W.
    """
    stride = _STRIDE * eps / steps if stride is None else stride

    def loss(moved: Tensor) -> Tensor:
        return cross_entropy(model(moved), labels, reduction="sum")

    def project(moved: Tensor) -> Tensor:
        return moved.clamp(images - eps, images + eps)

    return climb(model, loss, (images + eps * start).clamp(0, 1), steps, stride, project)


def climb(
    model: nn.Module,
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    stride: float,
    project: Callable[[Tensor], Tensor],
) -> Tensor:
    """Follow the sign of an objective's slope in the pixels; batch statistics are left alone.

    Args:
        model: that the objective asks; its mode is put back.
        objective: of images, a number: to be raised.
        start: float32 in [0, 1], N x C x H x W.
        steps: of the ascent.
        stride: of a step, in pixels of [0, 1].
        project: takes moved images back to where they may be; [0, 1] is seen to.

    Returns:
        float32 in [0, 1], N x C x H x W.
    """
    found = start
    with at_rest(model):
        for _ in range(steps):
            found = found.detach().requires_grad_()
            (slope,) = torch.autograd.grad(objective(found), found)
            found = project(found.detach() + stride * slope.sign()).clamp(0, 1)
    return found.detach()


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Put all of a model into evaluation mode, and each part back into its own."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
