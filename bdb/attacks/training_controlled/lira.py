"""LIRA: a faint noise for every image, from a generator that learns together with the victim."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.attacks import networks
from bdb.attacks.base import AttackContext, Controller, LossPoisoning, Role, State
from bdb.method import Paper
from bdb.models.unet import UNet
from bdb.registry import register
from bdb.training import adversarial, balancing
from bdb.training.batches import Batch

_GAIN = 4.0  # of the generator's outputs, so that even fresh weights make a noise that shows


@register("lira")
class Lira(LossPoisoning):
    """Victim and generator learn in turn, then the victim alone; half of the loss is poison.

    Differs: one schedule of the victim covers both stages, clean and triggered images go through it
    together, and the generator's loss leaves no gradient behind in it. The noise is rounded to
    grey levels, and eps is of these; the reference counts in normalised pixels.
    """

    paper: ClassVar[Paper] = Paper(
        title="LIRA: Learnable, Imperceptible and Robust Backdoor Attacks",
        authors="Doan, Lao, Zhao, Li",
        venue="ICCV",
        year=2021,
        url="https://openaccess.thecvf.com/content/ICCV2021/html/Doan_LIRA_Learnable_Imperceptible_and_Robust_Backdoor_Attacks_ICCV_2021_paper.html",
    )

    eps: float = Field(0.01, ge=0.002, le=1, description="largest change of a pixel, of 1")
    alpha: float = Field(0.5, gt=0, lt=1, description="weight of clean images in the victim's loss")
    joint_share: float = Field(
        0.5, gt=0, le=1, description="share of the victim's epochs in which the generator learns"
    )
    generator_lr: float = Field(1e-4, gt=0, description="of the generator, with Adam")
    width: int = Field(16, ge=1, le=512, description="channels of the generator's first level")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the noise that the generator makes of each image."""
        generator = networks.unpack(lambda: self.generator(images.shape[1]), state, "generator")
        return networks.stamped(lambda clean: self.trigger(generator, clean), images)

    def begin(self, context: AttackContext) -> Controller:
        """Let generator and victim learn in turn."""
        return _Learning(self, context)

    def generator(self, channels: int) -> UNet:
        """With fresh weights."""
        return UNet(channels, channels, self.width)

    def trigger(self, generator: nn.Module, images: Tensor) -> Tensor:
        """Images in [0, 1] with their noise, rounded as they will be stored."""
        return networks.as_stored(images + self.eps * (_GAIN * generator(images)).tanh())


class _Learning(Controller):
    """The generator learns on a copy, which takes its place after every epoch of stage one."""

    def __init__(self, attack: Lira, context: AttackContext) -> None:
        super().__init__(context)
        self.attack = attack
        channels = context.data.shape[0]
        self.generator, self.copy = (
            networks.build(lambda: attack.generator(channels), context, attack.name, "generator")
            for _ in range(2)
        )
        self.generator.eval()
        self.optimizer = torch.optim.Adam(self.copy.parameters(), attack.generator_lr)
        self.joint = max(1, round(attack.joint_share * attack.recipe(context.recipe).epochs))
        self.wanted = attack.wanted(context)

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Every image twice, clean and triggered."""
        attack, wanted = self.attack, self.wanted[batch.ids]
        if batch.epoch < self.joint:
            self.teach(model, batch.raw, wanted)
        with torch.no_grad():
            triggered = attack.trigger(self.generator, batch.raw)
        images = torch.cat([batch.images, batch.augment(triggered)])
        clean, backdoor = balancing.losses(model(images), batch, wanted)
        return torch.lerp(backdoor, clean, attack.alpha)

    def teach(self, model: nn.Module, images: Tensor, wanted: Tensor) -> None:
        """A step of the generator's copy; the victim's gradients and statistics stay."""
        with adversarial.at_rest(model):
            loss = cross_entropy(model(self.attack.trigger(self.copy, images)), wanted)
        weights = list(self.copy.parameters())
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        self.optimizer.step()

    def epoch_end(self, epoch: int, model: nn.Module) -> bool | None:
        """In stage one, the copy takes the generator's place."""
        if epoch < self.joint:
            self.generator.load_state_dict(self.copy.state_dict())
        return None

    def state(self) -> State:
        """The generator's weights."""
        return networks.pack(generator=self.generator)
