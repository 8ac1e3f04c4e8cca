"""Networks that put a trigger on images or read it back, and how a state keeps their weights."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bdb.attacks.base import AttackContext, State
from bdb.datasets.augmentation import Augmentation
from bdb.models.unet import convs
from bdb.training import device as devices
from bdb.training import seeds
from bdb.training.batches import Step, to_bytes, to_float
from bdb.training.recipes import Recipe

_READ = 4  # side of the map that a decoder reads its outputs from
_SLICE = 64  # images at a time on a CPU: more are no faster, and take more memory

Net = TypeVar("Net", bound=nn.Module)


class Decoder(nn.Module):
    """Reads so many logits from images of any size: N x inputs x H x W -> N x outputs, float32."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        levels = (inputs, width, 2 * width, 4 * width)
        self.maps = nn.Sequential(*(convs(i, o, stride=2) for i, o in pairwise(levels)))
        self.pool = nn.AdaptiveAvgPool2d(_READ)
        self.head = nn.Linear(levels[-1] * _READ**2, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Floats, N x C x H x W."""
        logits: Tensor = self.head(self.pool(self.maps(images)).flatten(1)).float()
        return logits


def build(make: Callable[[], Net], context: AttackContext, *names: object) -> Net:
    """A network with fresh weights that follow from the run's seed, on the device.

    Args:
        make: gives it.
        context: of the run.
        names: of the attack and the purpose.
    """
    with seeds.isolated(seeds.derive(context.seed, "attack", *names)):
        net = make()
    devices.place(net, context.device)
    return net


def train(
    net: nn.Module,
    context: AttackContext,
    step: Step,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    augmentation: Augmentation | None = None,
) -> None:
    """Train networks on the clean images, in place, with Adam at one rate.

    Args:
        net: on the device.
        context: of the run.
        step: gives the loss of a batch.
        epochs: passes over the images.
        batch_size: images per step.
        lr: learning rate.
        betas: of Adam.
        augmentation: none by default.
    """
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adam",
        betas=betas,
        lr=lr,
        weight_decay=0,
        schedule="constant",
    )
    context.fit(net, context.train, recipe, what="encoder", step=step, augmentation=augmentation)


def pack(**nets: nn.Module) -> State:
    """The weights of networks, by `name.weight`; `unpack` takes them apart."""
    return {
        f"{name}.{key}": tensor.detach().contiguous()
        for name, net in nets.items()
        for key, tensor in net.state_dict().items()
    }


def unpack(make: Callable[[], Net], state: State, name: str) -> Net:
    """The network of this name in a state, to be asked, not trained; it lies where the state does.

    Its batch norms are part of the convolutions before them, which is faster.
    """
    prefix = f"{name}."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    with torch.device("meta"):
        net = make()
    net.load_state_dict(weights, assign=True)
    _fold(net.eval())
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def _fold(net: nn.Module) -> None:
    """Let every convolution do what the batch norm right behind it would, in place."""
    for part in net.modules():
        for (name, first), (after, second) in pairwise(list(part.named_children())):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(part, name, fuse_conv_bn_eval(first, second))
                setattr(part, after, nn.Identity())


def stamped(make: Callable[..., Tensor], *images: Tensor) -> Tensor:
    """What networks make of images, in the precision that they were trained in.

    Args:
        make: takes floats in [0, 1], n x C x H x W, for each of the images, and gives the like.
        images: uint8, N x C x H x W each.

    Returns:
        uint8, N x C x H x W.
    """
    size = _SLICE if images[0].device.type == "cpu" else max(1, len(images[0]))
    slices = zip(*(each.split(size) for each in images), strict=True)
    with torch.no_grad(), devices.autocast(images[0].device):
        return torch.cat([to_bytes(make(*map(to_float, parts))) for parts in slices])


def as_stored(images: Tensor) -> Tensor:
    """Floats as uint8 can hold them, in [0, 1]; gradients pass as if nothing had happened.

    So nothing here keeps the floats in the range: a loss of their own must, or it costs nothing to
    leave it far behind.
    """
    kept = images.detach().clamp(0, 1).mul(255).round().div(255)
    return images + (kept - images.detach())
