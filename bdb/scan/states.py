"""State dicts and what stands beside them: what counts as such, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bdb.errors import SuspectError


def is_state(value: object) -> bool:
    """Whether it is tensors by name."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def is_plain(value: object) -> bool:
    """Whether it is text, a number, or a short list of such."""
    if isinstance(value, (list, tuple)):
        return len(value) <= 8 and all(isinstance(each, (int, float, str)) for each in value)
    return isinstance(value, (int, float, str))


def checked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of a model that was on one device.

    Raises:
        SuspectError: one is no plain array, larger than what is stored of it, or holds NaN.
    """
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise SuspectError(f"{name}: a tensor that is no plain array")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise SuspectError(f"{name}: a tensor larger than what is stored of it")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise SuspectError(f"{name}: NaN or infinity among the weights")
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if wrapped else name: t for name, t in state.items()}
