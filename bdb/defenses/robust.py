"""Means and covariances that a share of loud samples does not move."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROUNDS = 10  # of the filter, each removing as much
_POWER_STEPS = 20  # towards the direction that stands out most


def usual(points: Tensor, share: float) -> Tensor:
    """What is left of n x k points without a share of outliers of the second moments.

    The filter of Diakonikolas et al. (Being Robust (in High Dimensions) Can Be Practical, ICML
    2017): along the direction in which the products of coordinates vary most, the farthest go.
    """
    enough = 2 * (1 + share * math.log(1 / share) ** 2)  # Of Gaussian samples it is 2.
    least = len(points) - int(1.5 * share * len(points))
    for left in torch.linspace(len(points), least, _ROUNDS + 1)[1:].round().int().tolist():
        mean, whiten = whitening(points)
        seen, variance = _loudest((points - mean) @ whiten)
        if variance <= enough:
            break
        far = (seen - seen.median()).abs()
        points = points[far.argsort(stable=True)[:left].sort().values]
    return points


def whitening(points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (k) and inverse square root of the covariance (k x k) of n x k points."""
    mean = points.mean(0)
    values, vectors = torch.linalg.eigh((points - mean).T @ (points - mean) / len(points))
    floor = values[-1].clamp_min(1e-12) * 1e-9
    return mean, (vectors / values.clamp_min(floor).sqrt()) @ vectors.T


def _loudest(points: Tensor) -> tuple[Tensor, float]:
    """The quadratic form that varies most over white n x k points: its values (n), and variance."""
    seen = points.square().sum(1)
    for _ in range(_POWER_STEPS):
        form = points.T @ ((seen - seen.mean())[:, None] * points)
        form /= form.norm().clamp_min(1e-12)
        seen = ((points @ form) * points).sum(1)
    return seen, float(seen.var(correction=0))
