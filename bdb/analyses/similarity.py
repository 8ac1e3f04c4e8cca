"""How alike the layers of two networks see images: linear CKA."""

from __future__ import annotations

from torch import Tensor, nn

from bdb.analyses import layers
from bdb.models.base import Classifier


def grams(model: Classifier, images: Tensor) -> dict[str, Tensor]:
    """The centred Gram matrix of the output of each convolution and linear layer of the network.

    Args:
        model: whatever is around its network takes part, but its own layers do not.
        images: uint8, N x C x H x W, no more than one batch: each image meets each other.

    Returns:
        By the layer's name, in the order of a forward pass: float64, N x N.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        if len(output) == len(images):  # A transformer may fold its patches in with the images.
            found.setdefault(name, gram(output.flatten(1)))

    modules = layers.core(model).named_modules()
    names = [name for name, module in modules if isinstance(module, nn.Conv2d | nn.Linear)]
    layers.watch(model, names, images, keep)
    return found


def gram(features: Tensor) -> Tensor:
    """Of features without their mean: N x D -> float64, N x N."""
    centred = features.float() - features.float().mean(0)
    return (centred @ centred.T).double().cpu()


def cka(one: Tensor, other: Tensor) -> float:
    """Linear CKA from two centred Gram matrices."""
    return float((one * other).sum() / (one.norm() * other.norm()))
