"""Every source of randomness, derived from (seed, stage, method, ...); nothing is global.

The same names give the same generator, in whatever order the jobs run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed from a run's seed and the names of what it is for."""
    text = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator; on the CPU, as by default, its draws are the same on every machine.

    Draws on a GPU spare the copy to it, which a training step would wait for.
    """
    return torch.Generator(device).manual_seed(derive(seed, *names))


def numpy_generator(seed: int, *names: object) -> np.random.Generator:
    """A NumPy generator."""
    return np.random.default_rng(derive(seed, *names))


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed torch's global generator, inside the block only: weights and dropout come from it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def uniform_by_id(ids: Tensor, numel: int, seed: int) -> Tensor:
    """Draws in [0, 1) that depend on each sample's id and the seed, never on batch order.

    Args:
        ids: int64, N.
        numel: draws per sample.
        seed: of the whole stream.

    Returns:
        float32, N x numel, on the device of `ids`.
    """
    keys = ids.cpu().numpy().astype(np.uint64)[:, None] * np.uint64(numel)
    counters = keys + np.arange(numel, dtype=np.uint64) + _mix(np.array([seed], dtype=np.uint64))
    bits = _mix(counters) >> np.uint64(40)
    return torch.from_numpy((bits / np.float64(1 << 24)).astype(np.float32)).to(ids.device)


def uniform_by_content(images: Tensor, numel: int, seed: int) -> Tensor:
    """Draws in [0, 1) that depend on each image's pixels and the seed, never on the batch.

    For what draws at test time, where images have no ids: same image, same draws, on any device.

    Args:
        images: floats in [0, 1], N x ..., read in steps of 1/255; or uint8.
        numel: draws per image.
        seed: of the whole stream.

    Returns:
        float32, N x numel, on the device of `images`.
    """
    pixels = images if images.dtype == torch.uint8 else (images.detach() * 255).round()
    rows = pixels.flatten(1).cpu().numpy().astype(np.uint64)
    keys = _mix(np.arange(rows.shape[1], dtype=np.uint64))
    ids = torch.from_numpy((rows * keys).sum(1).view(np.int64))  # sums wrap around
    return uniform_by_id(ids, numel, seed).to(images.device)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): 64 bits in, 64 well-mixed bits out."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: np.ndarray = x ^ (x >> np.uint64(31))
        return mixed
