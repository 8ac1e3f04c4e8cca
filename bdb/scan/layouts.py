"""The shapes of a network's weights, found without memory for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Size, Tensor, nn

from bdb.errors import BdbError, SuspectError

Layout = Mapping[str, Size]
# Only ours hold them: statistics of images, which files of others lack.
_STATISTICS = ("mean", "std")


def of(state: Mapping[str, Tensor]) -> Layout:
    """The shapes of weights by name, but for the statistics of images."""
    return {n: tensor.shape for n, tensor in state.items() if n not in _STATISTICS}


def network(make: Callable[[], nn.Module]) -> Layout | None:
    """Likewise of a network that is to be made; None if it cannot be."""
    try:
        return _made(make)
    except (RuntimeError, ValueError, BdbError):
        return None


def check(make: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> None:
    """See that a file has weights for the whole network that it, or somebody, says they are of.

    A few bytes could name a network of gigabytes, which would be made before it is seen not to fit.
    Two of timm's 161 families cannot be made so, and are not checked.

    Raises:
        SuspectError: the network has more weights than the file.
        BdbError: there is no such network.
    """
    try:
        layout = _made(make)
    except RuntimeError:
        return
    needed, held = _count(layout), _count(of(state))
    if needed > held:
        raise SuspectError(f"a network of {needed:,} weights, of which the file has {held:,}")


def _made(make: Callable[[], nn.Module]) -> Layout:
    with _without_memory(), torch.random.fork_rng():
        return of(make().state_dict())


def _count(layout: Layout) -> int:
    return sum(shape.numel() for shape in layout.values())


@contextmanager
def _without_memory() -> Iterator[None]:
    """Let networks that are made meanwhile have parameters of a shape alone.

    Not all can be made on the device `meta`: some compute their shapes by tensors.
    """
    register = nn.Module.register_parameter

    def of_a_shape(module: nn.Module, name: str, made: nn.Parameter | None) -> None:
        hollow = None if made is None else nn.Parameter(made.to("meta"), made.requires_grad)
        register(module, name, hollow)

    setattr(nn.Module, register.__name__, of_a_shape)
    try:
        yield
    finally:
        setattr(nn.Module, register.__name__, register)
