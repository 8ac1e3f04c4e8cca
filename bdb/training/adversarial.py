"""Adversarial training: a step for the one loop, and the search for the images it trains on.

Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018.
Differs: the search runs in evaluation mode, so that batch statistics come from the batch that is
trained on, once.
"""

from __future__ import annotations

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
    was_training = model.training
    model.eval()
    worst = (images + eps * start).clamp(0, 1)
    for _ in range(steps):
        worst.requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model(worst), labels, reduction="sum"), worst)
        moved = worst.detach() + stride * slope.sign()
        worst = moved.clamp(images - eps, images + eps).clamp(0, 1)
    model.train(was_training)
    return worst.detach()
