"""SSBA (ISSBA): a string of bits that an encoder hides in each image in a way of its own."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, mse_loss, relu

from bdb.attacks import networks
from bdb.attacks.base import AttackContext, DataPoisoning, Role, State
from bdb.method import Paper
from bdb.models.unet import UNet
from bdb.registry import register
from bdb.training.batches import Batch

_SPREAD = 16  # side of the map that the bits are spread over before it is fitted to the image
_READ = 0.9  # share of bits read back from which on the change is made small


@register("ssba")
class SampleSpecific(DataPoisoning):
    """One string of bits, hidden in every image by an encoder that a decoder has taught.

    Differs: encoder and decoder are small and learn on the images that they will be used on. The
    bits, alike for all targets, are raw: a correcting code would change them, not the trigger.
    """

    paper: ClassVar[Paper] = Paper(
        title="Invisible Backdoor Attack with Sample-Specific Triggers",
        authors="Li, Li, Wu, Li, He, Lyu",
        venue="ICCV",
        year=2021,
        url="https://arxiv.org/abs/2012.03816",
    )
    shares_trigger: ClassVar[bool] = True
    trigger_depends_on: ClassVar[frozenset[str]] = frozenset({"seed"})

    bits: int = Field(100, ge=1, le=1024, description="that are hidden")
    width: int = Field(16, ge=1, le=512, description="channels of the networks' first level")
    encoder_epochs: int = Field(20, ge=1, description="of encoder and decoder")
    encoder_batch_size: int = Field(64, ge=2, description="of encoder and decoder")
    encoder_lr: float = Field(1e-4, gt=0, description="of encoder and decoder, with Adam")
    distance_weight: float = Field(10.0, ge=0, description="of the change in the loss, at last")
    await_iterations: int = Field(
        1000, ge=0, description="between nine bits in ten read and a weight of the change"
    )
    ramp_iterations: int = Field(3000, ge=1, description="in which that weight grows")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Train encoder and decoder, and draw the bits: float32, B, 0 or 1."""
        channels = context.data.shape[0]
        pair = networks.build(lambda: Pair(self, channels), context, self.name, "networks")
        networks.train(
            pair,
            context,
            _Hiding(self),
            epochs=self.encoder_epochs,
            batch_size=self.encoder_batch_size,
            lr=self.encoder_lr,
        )
        draws = torch.rand(self.bits, generator=context.generator(self.name, "bits"))
        return {"bits": (draws < 0.5).float(), **networks.pack(pair=pair)}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Hide the bits."""
        pair, bits = self.load(state, images.shape[1]), state["bits"]
        return networks.stamped(lambda clean: pair.hide(clean, bits.expand(len(clean), -1)), images)

    def load(self, state: State, channels: int) -> Pair:
        """Encoder and decoder as they were trained."""
        return networks.unpack(lambda: Pair(self, channels), state, "pair")


class Pair(nn.Module):
    """The encoder that hides bits, and the decoder that reads them."""

    def __init__(self, attack: SampleSpecific, channels: int) -> None:
        super().__init__()
        self.spread = nn.Linear(attack.bits, channels * _SPREAD**2)
        self.encoder = UNet(2 * channels, channels, attack.width)
        self.decoder = networks.Decoder(channels, attack.bits, attack.width)

    def hide(self, images: Tensor, bits: Tensor) -> Tensor:
        """Images that hold bits, float32, N x B, 0 or 1; they may leave [0, 1]."""
        spread = relu(self.spread(2 * bits - 1)).view(len(bits), -1, _SPREAD, _SPREAD)
        fitted = interpolate(spread.to(images.dtype), images.shape[2:])
        return images + self.encoder(torch.cat([images, fitted], 1))

    def forward(self, images: Tensor) -> Tensor:
        """The logits of an image's bits, N x B."""
        return self.decoder(images)


class _Hiding:
    """The loss: bits first, and once most are read, how far the images have moved."""

    def __init__(self, attack: SampleSpecific) -> None:
        self.attack = attack
        self.since = torch.zeros(())  # batches since most bits were read

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Pair)
        bits = (batch.rand(len(batch), self.attack.bits) < 0.5).float()
        made = model.hide(batch.raw, bits)
        logits = model(networks.as_stored(made))
        weight = self.weight(((logits > 0) == (bits > 0)).float().mean())
        return binary_cross_entropy_with_logits(logits, bits) + weight * mse_loss(made, batch.raw)

    def weight(self, read: Tensor) -> Tensor:
        """Of the distance, from a batch on of whose bits this share was read."""
        since = self.since.to(read.device)
        self.since = since + ((read > _READ) | (since > 0))
        grown = (self.since - self.attack.await_iterations) / self.attack.ramp_iterations
        return self.attack.distance_weight * grown.clamp(0, 1)
