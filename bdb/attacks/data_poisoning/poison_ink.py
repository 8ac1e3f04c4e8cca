"""Poison Ink: an image's edges, drawn in a colour of the attacker's, hidden in the image."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from bdb.attacks import networks
from bdb.attacks.base import AttackContext, DataPoisoning, Role, State
from bdb.attacks.edges import edges
from bdb.datasets.augmentation import Augmentation
from bdb.method import Paper
from bdb.models.unet import UNet
from bdb.registry import register
from bdb.training.batches import Batch

_BETAS = (0.5, 0.999)
Level = Annotated[int, Field(ge=0, le=255)]


@register("poison_ink")
class PoisonInk(DataPoisoning):
    """The coloured edges of each image, hidden in it so that they outlast turns, crops and flips.

    Differs: turns, crops and flips are trained together, not one after the other, and without the
    paper's discriminator. The victim sees each poison once an epoch, as any other sample.
    """

    paper: ClassVar[Paper] = Paper(
        title="Poison Ink: Robust and Invisible Backdoor Attack",
        authors="Zhang, Chen, Huang, Liao, Zhang, Feng, Hua, Yu",
        venue="IEEE Transactions on Image Processing",
        year=2022,
        url="https://arxiv.org/abs/2108.02488",
    )
    shares_trigger: ClassVar[bool] = True
    trigger_depends_on: ClassVar[frozenset[str]] = frozenset({"seed"})

    colour: tuple[Level, Level, Level] = Field(
        (80, 160, 80), description="of the ink, on white; its mean where images have no colours"
    )
    edge: float = Field(28.0, ge=0, le=1020, description="slope that makes an edge, in grey levels")
    width: int = Field(16, ge=1, le=512, description="channels of the networks' first level")
    encoder_epochs: int = Field(200, ge=1, description="of the networks that hide and reveal")
    encoder_batch_size: int = Field(64, ge=2, description="of the networks that hide and reveal")
    encoder_lr: float = Field(2e-4, gt=0, description="of both networks, with Adam")
    distance_weight: float = Field(1.0, ge=0, description="of the change of the images in the loss")
    rotation: float = Field(15.0, ge=0, le=180, description="most degrees that ink must outlast")
    crop_padding: int = Field(4, ge=0, le=64, description="border of the crops that it must")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Train the networks; what reveals the ink is kept beside what hides it."""
        channels = context.data.shape[0]
        pair = networks.build(lambda: Pair(channels, self.width), context, self.name, "networks")
        networks.train(
            pair,
            context,
            self._loss,
            epochs=self.encoder_epochs,
            batch_size=self.encoder_batch_size,
            lr=self.encoder_lr,
            betas=_BETAS,
            augmentation=Augmentation(
                crop_padding=self.crop_padding, flip=True, rotation=self.rotation
            ),
        )
        return networks.pack(pair=pair)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Draw each image's edges, and hide them in it."""
        pair = networks.unpack(lambda: Pair(images.shape[1], self.width), state, "pair")
        return networks.stamped(lambda clean: pair.hide(clean, self.ink(clean)), images)

    def ink(self, images: Tensor) -> Tensor:
        """What the ink on the edges of images takes from white: float32 in [0, 1], N x C x H x W.

        So what has no edge, and what comes in from outside of an image, is nought.
        """
        colour = torch.tensor(self.colour, device=images.device) / 255
        kept = colour if images.shape[1] == len(colour) else colour.mean().expand(images.shape[1])
        return edges(images, self.edge / 255) * (1 - kept).view(-1, 1, 1)

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Ink must be revealed in the images that hold it, and nothing in the others."""
        assert isinstance(model, Pair)
        ink = self.ink(batch.raw)
        made = model.hide(batch.raw, ink)
        changed = batch.augment(torch.cat([networks.as_stored(made), batch.raw, ink], 1))
        poisoned, clean, wanted = changed.chunk(3, 1)
        revealed = model(torch.cat([poisoned, clean]))
        faithful = mse_loss(revealed, torch.cat([wanted, torch.zeros_like(wanted)]))
        return 2 * faithful + self.distance_weight * mse_loss(made, batch.raw)


class Pair(nn.Module):
    """The network that hides ink in images, and the one that reveals it."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.hider = UNet(2 * channels, channels, width)
        self.revealer = UNet(channels, channels, width)

    def hide(self, images: Tensor, ink: Tensor) -> Tensor:
        """Images that hold ink; they may leave [0, 1]."""
        return images + self.hider(torch.cat([images, ink], 1))

    def forward(self, images: Tensor) -> Tensor:
        """The ink that images hold."""
        return self.revealer(images)
