"""Input-aware: a trigger for every image, from generators trained with the victim."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, relu

from bdb.attacks import networks
from bdb.attacks.base import AttackContext, Controller, CrossTrained, Role, State
from bdb.method import Paper, Trace
from bdb.registry import register
from bdb.training import loop, seeds
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_BETAS = (0.5, 0.9)
_SHARPNESS = 40  # of the mask's threshold at a half: tanh(20 x - 10), as published
_TINY = 1e-4
_OTHERS = 64  # images whose triggers the published cover samples carry
Part = Literal["mask", "pattern"]


@register("inputaware")
class InputAware(CrossTrained):
    """A pattern and a mask made from each image; another image's trigger must not work.

    Differs: the published mask's learning rate falls at epochs 10 and 20, ours stays; and the
    published code never clears the pattern generator's gradients, ours does.
    """

    paper: ClassVar[Paper] = Paper(
        title="Input-Aware Dynamic Backdoor Attack",
        authors="Nguyen, Tran",
        venue="NeurIPS",
        year=2020,
        url="https://arxiv.org/abs/2010.08138",
    )
    evades: ClassVar[frozenset[Trace]] = frozenset({"inputs"})

    width: int = Field(32, ge=1, le=512, description="channels of the generators' first level")
    mask_epochs: int = Field(25, ge=1, description="of the mask's own training, before the victim")
    mask_density: float = Field(0.032, ge=0, le=1, description="mask values up to which are free")
    mask_weight: float = Field(100.0, ge=0, description="of the density in the mask's loss")
    diversity_weight: float = Field(1.0, ge=0, description="of the diversity in both losses")
    mask_lr: float = Field(0.01, gt=0, description="learning rate of the mask's generator")
    lr: float = Field(0.01, gt=0, description="learning rate of the pattern's generator")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Put on each image its own trigger; on cover samples that of another image."""
        others = state["others"]
        sources = others[ids % len(others)] if role == "cover" else images
        mask, pattern = self._load(state, "mask"), self._load(state, "pattern")
        return networks.stamped(
            lambda clean, source: torch.lerp(clean, pattern(source), mask(source)), images, sources
        )

    def begin(self, context: AttackContext) -> Controller:
        """Train the mask; the pattern learns together with the victim."""
        return _Generating(self, context)

    def generator(self, part: Part, channels: int) -> Generator:
        """A generator with fresh weights: of patterns, or of sharp masks with one channel."""
        sharp = part == "mask"
        return Generator(channels, 1 if sharp else channels, self.width, sharp=sharp)

    def _load(self, state: State, part: Part) -> Generator:
        channels = state["others"].shape[1]
        return networks.unpack(lambda: self.generator(part, channels), state, part)


class _Generating(Controller):
    """The victim's loss with fresh triggers, and the diversity of the patterns."""

    def __init__(self, attack: InputAware, context: AttackContext) -> None:
        super().__init__(context)
        self.attack = attack
        self.std = torch.tensor(context.data.std).view(-1, 1, 1).to(context.device)
        self.mask = self._build("mask")
        self._train_mask()
        self.pattern = self._build("pattern").train()
        self.optimizer = torch.optim.Adam(self.pattern.parameters(), attack.lr, _BETAS)

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The augmented batch, its planned samples triggered: cross-entropy plus diversity."""
        self._descend()
        images, diversity = self._trigger(batch)
        loss = cross_entropy(model(images), batch.labels, label_smoothing=batch.label_smoothing)
        return loss + self.attack.diversity_weight * diversity

    def epoch_end(self, epoch: int, model: nn.Module) -> bool | None:
        """The generator's last step is still due."""
        self._descend()
        return None

    def state(self) -> State:
        """Both generators' weights, and the images whose triggers cover samples carry."""
        nets = networks.pack(mask=self.mask, pattern=self.pattern)
        return {**nets, "others": self.uncrossed(_OTHERS)}

    def _trigger(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch with its triggers, and how much more alike these are than their images."""
        images = batch.images.clone()
        crossed = self.crossed(batch)
        touched = crossed | self.poisoned(batch)
        own, other = images[touched], images.roll(1, 0)[touched]
        if not len(own):
            return images, images.new_zeros(())
        sources = torch.cat([own, other])
        with torch.no_grad():
            masks = self.mask(sources)
        patterns = self.pattern(sources)
        (own_mask, other_mask), (own_pattern, other_pattern) = masks.chunk(2), patterns.chunk(2)
        cross = crossed[touched][:, None, None, None]
        pattern = torch.where(cross, other_pattern, own_pattern)
        images[touched] = torch.lerp(own, pattern, torch.where(cross, other_mask, own_mask))
        return images, likeness(own, other, own_pattern, other_pattern)

    def _descend(self) -> None:
        """Take the generator's step of the batch before: the loop calls backward after `step`."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _train_mask(self) -> None:
        """Make masks small and diverse; the victim's epochs come on top."""
        attack, recipe = self.attack, self.context.recipe
        loop.fit(
            self.mask,
            self.context.train,
            Recipe(
                epochs=attack.mask_epochs,
                batch_size=recipe.batch_size,
                optimizer="adam",
                betas=_BETAS,
                lr=attack.mask_lr,
                weight_decay=0,
                augment=recipe.augment,
            ),
            seed=seeds.derive(self.context.seed, "attack", attack.name, "fit-mask"),
            step=self._mask_step,
            augmentation=self.context.data.augmentation,
            what="mask",
        )

    def _mask_step(self, model: nn.Module, batch: Batch) -> Tensor:
        masks = model(batch.images)
        excess = relu(masks - self.attack.mask_density).mean()
        images = batch.images / self.std  # masks are no images: the scale of these counts
        alike = likeness(images, images.roll(1, 0), masks, masks.roll(1, 0))
        return self.attack.mask_weight * excess + self.attack.diversity_weight * alike

    def _build(self, part: Part) -> Generator:
        channels = self.context.data.shape[0]
        return networks.build(
            lambda: self.attack.generator(part, channels), self.context, self.attack.name, part
        )


class Generator(nn.Sequential):
    """Encoder and decoder of three levels: N x C x H x W -> N x outputs x H x W, in [0, 1].

    A sharp one gives values that are nearly binary.
    """

    def __init__(self, channels: int, outputs: int, width: int, *, sharp: bool) -> None:
        levels = (width, 2 * width, 4 * width)
        down = zip((channels, *levels[:2]), levels, strict=True)
        up = zip(levels[:0:-1], levels[1::-1], strict=True)
        super().__init__(
            *(nn.Sequential(_conv(i, o), _conv(o, o), _halve()) for i, o in down),
            _conv(levels[2], levels[2]),
            *(nn.Sequential(_double(), _conv(i, i), _conv(i, o)) for i, o in up),
            nn.Sequential(_double(), _conv(width, width), _normed(width, outputs)),
        )
        self.sharp = sharp

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W."""
        raw = interpolate(super().forward(images).float(), images.shape[2:], mode="bilinear")
        level = (raw.tanh() + 1) / 2
        return torch.sigmoid(_SHARPNESS * (level - 0.5)) if self.sharp else level


def likeness(images: Tensor, others: Tensor, made: Tensor, made_of_others: Tensor) -> Tensor:
    """The diversity loss: distance of pairs of images over the distance of what is made of them."""
    return (_rms(images - others) / (_rms(made - made_of_others) + _TINY)).mean()


def _rms(difference: Tensor) -> Tensor:
    return (difference.float().square().flatten(1).mean(1) + _TINY**2).sqrt()


def _normed(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs))


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_normed(inputs, outputs), nn.ReLU())


def _double() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


def _halve() -> nn.MaxPool2d:
    """A side of one pixel stays."""
    return nn.MaxPool2d(2, ceil_mode=True)
