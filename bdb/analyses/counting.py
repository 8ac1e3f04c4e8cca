"""Layers of a network, counted: their outputs, parameters, multiply-accumulates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bdb.models import base as models

if TYPE_CHECKING:
    import pandas as pd


def layers(model: models.Classifier) -> pd.DataFrame:
    """Every module that computes or holds something of its own, in the order of a forward pass.

    Columns: layer (its name), kind (its class), output (its shape for one image), parameters, zeros
    (parameters that are 0), macs (multiply-accumulates of convolutions and matrix products for one
    image). What a module that is called does or holds belongs to it, and not to its caller.
    """
    import pandas as pd

    model = models.duplicate(model).cpu()  # hooks and counters leave no trace on the original
    shapes, macs = _pass(model)
    own, sizes, zeros = Counter(macs), Counter[str](), Counter[str]()
    outer = {name: _caller(name.rpartition(".")[0], shapes) for name in shapes if name}
    for name, caller in outer.items():
        own[caller] -= macs[name]
    for name, weight in model.named_parameters():
        holder = _caller(name.rpartition(".")[0], shapes)
        sizes[holder] += weight.numel()
        zeros[holder] += int((weight == 0).sum())
    rows = [
        (name, type(model.get_submodule(name)).__name__, shape, sizes[name], zeros[name], own[name])
        for name, shape in shapes.items()
        if name not in outer.values() or sizes[name] or own[name]
    ]
    return pd.DataFrame(rows, columns=["layer", "kind", "output", "parameters", "zeros", "macs"])


def _pass(model: models.Classifier) -> tuple[dict[str, str], Counter[str]]:
    """Output shapes and multiply-accumulates of what is called; callers come last."""
    shapes: dict[str, str] = {}

    def keep(name: str, _module: nn.Module, _args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        shapes[name] = " x ".join(map(str, first.shape[1:]))

    for name, module in model.named_modules():
        module.register_forward_hook(partial(keep, name))
    # With gradients and by plain products, or attention is one operation that nobody counts.
    counter = FlopCounterMode(display=False)
    with counter, torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, *model.spec.data.shape))
    counts = counter.get_flop_counts()
    names = {name: ".".join(filter(None, [type(model).__name__, name])) for name in shapes}
    return shapes, Counter(
        {name: sum(counts.get(path, {}).values()) // 2 for name, path in names.items()}
    )


def _caller(name: str, called: Container[str]) -> str:
    """The innermost module that was called and holds this one, or is it."""
    while name not in called:
        name = name.rpartition(".")[0]
    return name
