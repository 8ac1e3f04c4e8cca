"""Curvature of a loss: Hessian-vector products, and what Lanczos finds of the spectrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from bdb.training.batches import to_float


class Spectrum(NamedTuple):
    """What is known of a matrix's eigenvalues, in ascending order; each float64, K.

    Attributes:
        values: Ritz values.
        errors: an eigenvalue lies no farther than this from its Ritz value, but for rounding.
        shares: of the spectrum that each stands for, if the start was random; they add up to 1.
    """

    values: Tensor
    errors: Tensor
    shares: Tensor


class Hessian:
    """Of the mean cross-entropy by all the weights of a model, in evaluation mode, as a product.

    Args:
        model: whose weights need no gradients.
        images: uint8, N x C x H x W, seen in one batch.
        labels: int64, N.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        weights = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}
        device = next(iter(weights.values())).device
        self.weights = list(weights.values())
        with sdpa_kernel(SDPBackend.MATH):  # Other kernels have no second derivative.
            logits = functional_call(model, weights, (to_float(images.to(device)),))
            loss = cross_entropy(logits, labels.to(device))
            self.slopes = torch.autograd.grad(loss, self.weights, create_graph=True)

    def __len__(self) -> int:
        return sum(weight.numel() for weight in self.weights)

    def __call__(self, vector: Tensor) -> Tensor:
        """Float32, D -> D."""
        parts = vector.split([weight.numel() for weight in self.weights])
        along = [part.view_as(weight) for part, weight in zip(parts, self.weights, strict=True)]
        products = torch.autograd.grad(self.slopes, self.weights, along, retain_graph=True)
        return torch.cat([product.flatten() for product in products])


def lanczos(matrix: Callable[[Tensor], Tensor], start: Tensor, iterations: int) -> Spectrum:
    """Lanczos's iteration, with every vector kept and made orthogonal to all others.

    Args:
        matrix: a symmetric one, as its product with a vector, D -> D.
        start: D; `iterations` + 1 as long are kept.
        iterations: fewer if the space is exhausted.
    """
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(iterations):
        grown = matrix(basis[-1])
        diagonal.append(float(grown @ basis[-1]))
        for vector in basis * 2:  # Once more: rounding leaves something.
            grown = grown - (grown @ vector) * vector
        beside.append(float(grown.norm()))
        if beside[-1] < 1e-6 * max(map(abs, diagonal)):
            break
        basis.append(grown / beside[-1])
    inner = torch.tensor(beside[:-1], dtype=torch.float64)
    small = torch.tensor(diagonal, dtype=torch.float64).diag() + inner.diag(1) + inner.diag(-1)
    values, vectors = torch.linalg.eigh(small)
    return Spectrum(values, (beside[-1] * vectors[-1]).abs(), vectors[0].square())


def density(values: Tensor, shares: Tensor, at: Tensor, width: float) -> Tensor:
    """Spectral density by stochastic Lanczos quadrature: each value is a Gaussian of that width."""
    bells = torch.exp(-0.5 * ((at[:, None] - values) / width).square())
    return bells @ shares / (width * (2 * torch.pi) ** 0.5)
