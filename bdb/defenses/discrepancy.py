"""Whether two sets of features are of one kind."""

from __future__ import annotations

import torch
from torch import Tensor

_COMPARED = 500  # rows of each set, at most


def between(one: Tensor, other: Tensor) -> float:
    """Kernel mean discrepancy of two sets of features, the more of them the surer.

    The kernel is the mean of five Gaussian ones around the mean distance (Gretton et al., A Kernel
    Two-Sample Test, JMLR 2012).

    Args:
        one: n x D.
        other: m x D.

    Returns:
        At least 0, up to rounding; 0 where a set has fewer than two rows.
    """
    one, other = _some(one), _some(other)
    n, m = len(one), len(other)
    if min(n, m) < 2:
        return 0.0
    rows = torch.cat([one, other])
    squares = torch.cdist(rows, rows).square()
    usual = squares.mean().clamp_min(1e-12)
    kernel = torch.stack([(-squares / (usual * 2.0**k)).exp() for k in range(-2, 3)]).mean(0)
    gap = kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
    return float(gap) * n * m / (n + m)


def _some(rows: Tensor) -> Tensor:
    """At most so many, evenly spread."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), _COMPARED)).long()]
