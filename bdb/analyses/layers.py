"""What the layers of a network put out, batch by batch; and silencing some of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from bdb.errors import ParamsError
from bdb.models import surgery
from bdb.models.classifier import Classifier, Wrapper
from bdb.models.hooks import hooked
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
    hooks = (
        network.get_submodule(name).register_forward_hook(partial(show, name)) for name in layers
    )
    with hooked(hooks):
        inference.logits(model, images)


def with_channels(model: Classifier) -> list[str]:
    """The layers whose channels are looked at: batch norms over maps, or else the stages.

    What a batch norm puts out is what a defense prunes.

    Raises:
        ParamsError: the network has neither.
    """
    network = core(model)
    names = list(surgery.batch_norms(network)) or list(network.attention_layers)
    if not names:
        raise ParamsError(f"the model {model.spec.architecture!r} has no layers of channels")
    return names


@contextmanager
def silenced(model: Classifier, channels: Mapping[str, Tensor]) -> Iterator[None]:
    """Set channels of layers to zero, by the layer's name in the `core`: bool, C."""

    def hush(off: Tensor, _module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return output * ~off.to(output.device).view(-1, 1, 1)

    network = core(model)
    hooks = (
        network.get_submodule(name).register_forward_hook(partial(hush, off))
        for name, off in channels.items()
    )
    with hooked(hooks):
        yield
