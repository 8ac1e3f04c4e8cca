"""Looking into a network, and cutting channels out of it, without knowing its architecture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bdb.models.base import Classifier
from bdb.models.hooks import hooked

Pairing = Literal["strict", "listed"]


@contextmanager
def recording(model: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what the named sub-modules put out in the latest forward pass, gradients included."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _args: Any, output: Tensor) -> None:
        outputs[name] = output

    hooks = (
        model.get_submodule(name).register_forward_hook(partial(keep, name)) for name in layers
    )
    with hooked(hooks):
        yield outputs


def batch_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The batch norms over maps that have a scale and a bias, by name, in order of definition."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.affine
    }


@torch.no_grad()
def conv_norm_pairs(
    model: Classifier, pairing: Pairing = "strict"
) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each batch norm with the convolution it belongs to, in the order of a forward pass.

    Found by tracing one pass, so that neither names nor the order of definition matter.

    Args:
        model: its mode is put back.
        pairing: `strict`: with the convolution whose very output the norm takes in; in a
            pre-activation network the norm at the start of a block, which takes in a sum, has none.
            `listed`: such a norm goes with the convolution that ran last, the end of the block
            before it, if the numbers of channels agree.
    """
    # The version tells an output from what an in-place operation has since made of it.
    made: list[tuple[Tensor, int, nn.Conv2d]] = []
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def after_conv(conv: nn.Conv2d, _args: Any, output: Tensor) -> None:
        made.append((output, output._version, conv))

    def before_norm(norm: nn.BatchNorm2d, args: tuple[Tensor, ...]) -> None:
        found = [conv for output, version, conv in made if _is(args[0], output, version)]
        if pairing == "listed" and not found:
            found = [conv for *_, conv in made[-1:] if conv.out_channels == norm.num_features]
        for conv in found:
            pairs[norm] = conv

    hooks = [m.register_forward_hook(after_conv) for m in _convolutions(model)]
    hooks += [m.register_forward_pre_hook(before_norm) for m in batch_norms(model).values()]
    was_training = model.training
    black = torch.zeros(1, *model.spec.data.shape, device=next(model.parameters()).device)
    with hooked(hooks):
        try:
            model.eval()(black)
        finally:
            model.train(was_training)
    return [(conv, norm) for norm, conv in pairs.items()]


@torch.no_grad()
def lipschitz_bounds(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Upper bounds of the Lipschitz constants of a convolution's channels after their batch norm.

    Returns:
        float32, C: the largest singular value of the channel's weight, as inputs x window, times
        the scale that the norm gives the channel.
    """
    spectral = torch.linalg.matrix_norm(conv.weight.flatten(2).float(), ord=2)
    if norm.running_var is None:
        return spectral * norm.weight.abs()
    return spectral * (norm.weight / (norm.running_var + norm.eps).sqrt()).abs()


def deviations(values: Tensor) -> Tensor:
    """How many standard deviations each of a layer's values lies above their mean: float64, C."""
    # In double precision the mean of equal values is exact, so that none of them deviates.
    values = values.double()
    if len(values) < 2:
        return torch.zeros_like(values)
    return ((values - values.mean()) / values.std()).nan_to_num(0.0)


def outliers(values: Tensor, u: float) -> Tensor:
    """Which of a layer's values lie more than `u` standard deviations above their mean: bool, C."""
    return deviations(values) > u


@torch.no_grad()
def prune(norm: nn.BatchNorm2d, channels: Tensor, *, keep_bias: bool = False) -> None:
    """Silence channels of a batch norm.

    Args:
        norm: changed in place.
        channels: bool, C: which to silence.
        keep_bias: leave them at a constant rather than at zero.
    """
    norm.weight[channels] = 0
    if not keep_bias:
        norm.bias[channels] = 0


def _is(tensor: Tensor, output: Tensor, version: int) -> bool:
    return tensor is output and tensor._version == version


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]
