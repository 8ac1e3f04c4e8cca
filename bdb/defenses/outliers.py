"""One class that stands out among all: robust deviations, and what chance alone would give."""

from __future__ import annotations

import torch
from torch import Tensor

_DRAWS = 10_000  # the quantile at 95 % is known to about 2 % of its value


def deviations(values: Tensor) -> Tensor:
    """How far each value lies above its row's median, in consistent median absolute deviations.

    Unlike a z-score, which among K values is at most (K - 1) / sqrt(K), this has no bound.

    Args:
        values: ... x K.
    """
    above = values - values.quantile(0.5, dim=-1, keepdim=True)
    spread = 1.4826 * above.abs().quantile(0.5, dim=-1, keepdim=True)
    return above / spread.clamp_min(1e-12)


def critical(count: int, significance: float, generator: torch.Generator) -> float:
    """What the largest of the `deviations` of normal values exceeds by chance, so often.

    Args:
        count: how many values there are.
        significance: the chance, in (0, 1).
        generator: on the CPU, of the draws from which it is estimated.
    """
    largest = deviations(torch.randn(_DRAWS, count, generator=generator)).amax(1)
    return float(largest.quantile(1 - significance))
