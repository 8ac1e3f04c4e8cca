"""How the channels of a network's last stage go together, image by image."""

from __future__ import annotations

import torch
from torch import Tensor

from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.training import inference


def row_sums(model: Classifier, images: Tensor, orders: int) -> Tensor:
    """Of the last stage's maps, the row sums of the Gram matrices of every order.

    Args:
        model: in evaluation mode, with maps.
        images: uint8, N x C x H x W.
        orders: of the powers of the maps, from 1 to this.

    Returns:
        float32, N x (orders C), on the CPU.
    """
    layer = model.attention_layers[-1]

    def rows(batch: Tensor) -> Tensor:
        with surgery.recording(model, [layer]) as seen:
            model(batch)
        maps = seen[layer].float().flatten(2)
        return torch.cat([gram(maps, order) for order in range(1, orders + 1)], 1)

    return inference.in_batches(rows, images, next(model.parameters()).device)


def gram(maps: Tensor, order: int) -> Tensor:
    """Row sums of one Gram matrix of maps (N x C x S), with the order's root taken: N x C."""
    # High powers of loud maps would overflow: they are made at most 1, and the sums scaled back.
    scale = maps.abs().amax((1, 2), keepdim=True).clamp_min(1e-12)
    powers = (maps / scale) ** order
    products = powers @ powers.mT
    return (products.sign() * products.abs() ** (1 / order)).sum(2) * scale[..., 0] ** 2
