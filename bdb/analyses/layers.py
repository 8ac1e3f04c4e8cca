"""What the layers of a network put out, shown batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn

from bdb.models.classifier import Classifier, Wrapper
from bdb.training import inference


def core(model: Classifier) -> Classifier:
    """The network inside whatever a defense has put around it; of several, the first."""
    while isinstance(model, Wrapper):
        model = model.inner
    return model


def watch(
    model: Classifier, layers: Iterable[str], images: Tensor, see: Callable[[str, Tensor], None]
) -> None:
    """Show what layers put out, in evaluation mode; what is around the network takes part.

    Args:
        model: its mode is put back.
        layers: names of sub-modules of its `core`.
        images: uint8, N x C x H x W.
        see: called for every batch with the layer's name and its output, in the order of a pass.
            What it keeps it copies: the network may go on to write there.
    """

    def show(name: str, _module: nn.Module, _args: Any, output: Tensor) -> None:
        see(name, output)

    network = core(model)
    hooks = [
        network.get_submodule(name).register_forward_hook(partial(show, name)) for name in layers
    ]
    try:
        inference.logits(model, images)
    finally:
        for hook in hooks:
            hook.remove()
