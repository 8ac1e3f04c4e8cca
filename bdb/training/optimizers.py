"""What a recipe makes of a model's parameters: groups, an optimiser, a schedule of its rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from bdb.training.recipes import Recipe

# Of the triangular schedule: the rate at the start and at the end, of its peak, and where that is.
_START, _END, _PEAK = 0.2, 0.07, 0.23


def groups(
    model: nn.Module, parameters: list[nn.Parameter], recipe: Recipe
) -> list[dict[str, Any]]:
    """What is trained, the batch norms' biases apart if they have a rate of their own.

    Their weight decay is decoupled: what a step takes off them is what it takes off other weights.
    """
    if recipe.norm_bias_lr == 1:
        return [{"params": parameters}]
    norms = (module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    biases = {id(norm.bias) for norm in norms}
    apart = [each for each in parameters if id(each) in biases]
    others = [each for each in parameters if id(each) not in biases]
    scale = recipe.norm_bias_lr
    changed = {"lr": recipe.lr * scale, "weight_decay": recipe.weight_decay / scale}
    return [{"params": others}, {"params": apart, **changed}]


def make_optimizer(
    parameters: Iterable[Any], recipe: Recipe, device: torch.device
) -> torch.optim.Optimizer:
    """The recipe's optimiser, fused where that exists."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam(
            parameters,
            recipe.lr,
            recipe.betas,
            weight_decay=recipe.weight_decay,
            amsgrad=recipe.amsgrad,
            fused=device.type == "cuda",
        )
    return torch.optim.SGD(
        parameters,
        recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=device.type == "cuda",
    )


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """The recipe's schedule over so many steps."""
    if recipe.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(
            optimizer, peaks, total_steps=steps + 1, pct_start=0.3, cycle_momentum=False
        )
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if recipe.schedule == "triangular":
        return LambdaLR(optimizer, lambda step: _triangle(step / steps))
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _triangle(share: float) -> float:
    """The rate at a share of the training, of its peak: up for a while, and down to nearly zero."""
    if share < _PEAK:
        return _START + (1 - _START) * share / _PEAK
    return 1 - (1 - _END) * (min(share, 1) - _PEAK) / (1 - _PEAK)


def stride(optimizer: torch.optim.Optimizer) -> Tensor:
    """The length, squared, of the step that SGD is about to take, per learning rate."""
    lengths = []
    for group in optimizer.param_groups:
        for weight in group["params"]:
            step = weight.grad + group["weight_decay"] * weight.detach()
            momentum = optimizer.state[weight].get("momentum_buffer")
            step = step if momentum is None else step + group["momentum"] * momentum
            lengths.append(step.square().sum())
    return torch.stack(lengths).sum()
