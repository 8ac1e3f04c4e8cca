"""A pretended accelerator: tensors that claim to lie on another device and compute on the CPU.

As on a GPU, a kernel refuses operands from two devices, a tensor must be copied before NumPy sees
it, and whatever is made without naming the device lies on the CPU. So what forgets to move a tensor
fails here, on a machine without a GPU. Values are those of the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

# A device type that torch knows, whose backward passes run in the calling thread.
DEVICE = torch.device("lazy", 0)

# As in CUDA's kernels: these take tensors of both sides.
_MIXES = {"copy_", "_to_copy", "index", "index_put_", "_index_put_impl_", "index_put"}


class Generator(torch.Generator):
    """Draws for the pretended device."""

    device = DEVICE  # type: ignore[assignment]


class Pretended(torch.Tensor):
    """A tensor that claims to lie on `DEVICE`."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretended:
        made: Pretended = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return compute(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.held!r})"

    def tolist(self) -> Any:
        """As for any tensor; torch refuses it for sub-classes."""
        return self.held.tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        twin = Pretended(self.held.clone())
        if isinstance(self, torch.nn.Parameter):
            twin = torch.nn.Parameter(twin, self.requires_grad)  # type: ignore[assignment]
        memo[id(self)] = twin
        return twin


class Accelerator(TorchDispatchMode):
    """While it is entered, tensors can be made on `DEVICE` and moved there."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU what is asked of the device, if it may be asked."""
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
    name = func.overloadpacket.__name__
    if there and name not in _MIXES:
        _refuse_mixtures(name, tensors)
    place = kwargs.get("device")
    lands = place.type == DEVICE.type if place is not None else bool(there)
    if name == "copy_":
        lands = isinstance(args[0], Pretended)
    held_args, held_kwargs = tree_map(_unwrap, (args, kwargs))
    if place is not None:
        held_kwargs["device"] = torch.device("cpu")
    with torch.utils._python_dispatch._disable_current_modes():
        out = func(*held_args, **held_kwargs)
    if not lands:
        return out
    originals = {id(_unwrap(tensor)): tensor for tensor in there}
    return tree_map(lambda leaf: _wrap(leaf, originals), out)


def _refuse_mixtures(name: str, tensors: list[torch.Tensor]) -> None:
    for tensor in tensors:
        if not isinstance(tensor, Pretended) and tensor.dim() > 0:
            raise RuntimeError(
                f"{name}: expected all tensors on {DEVICE}, found one on {tensor.device}"
            )


def _unwrap(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, Pretended) else leaf


def _wrap(leaf: Any, originals: dict[int, torch.Tensor]) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return originals.get(id(leaf)) if id(leaf) in originals else Pretended(leaf)
