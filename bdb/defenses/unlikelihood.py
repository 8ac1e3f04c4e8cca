"""How far a model is from an answer that it must not give."""

from __future__ import annotations

import torch
from torch import Tensor


def unlikelihood(logits: Tensor, classes: Tensor) -> Tensor:
    """Minus the logarithm of what the other classes get together: -log(1 - p), stable near p = 1.

    Args:
        logits: float, N x K, K at least 2.
        classes: int64, N: which answers to avoid.

    Returns:
        float32, N, at least 0.
    """
    logits = logits.float()
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return logits.logsumexp(1) - others.logsumexp(1)


def runner_up(logits: Tensor, labels: Tensor) -> Tensor:
    """The class that is likeliest but for the label: int64, N."""
    return logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
