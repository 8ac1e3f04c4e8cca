"""Features apart by a mask into benign and others, and a network that changes images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from bdb.datasets.base import DataSpec
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.models.hooks import hooked
from bdb.models.unet import UNet
from bdb.training.batches import Batch, Step

_LOOSE = 0.1  # mean square up to where a near identity may change images at next to no price


def look(model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a model makes of images: the maps of its last stage, and the logits."""
    layer = model.attention_layers[-1]
    with surgery.recording(model, [layer]) as stages:
        logits = model(images)
    return stages[layer], logits


class Mask(nn.Module):
    """How benign each place of the last stage's maps is: a number in (0, 1), to be learned."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(shape))

    @classmethod
    def of(cls, model: Classifier) -> Mask:
        """A fresh mask for a model, on its device."""
        device = next(model.parameters()).device
        with torch.no_grad():
            maps, _ = look(model, torch.zeros(1, *model.spec.data.shape, device=device))
        return cls(tuple(maps.shape[1:])).to(device)

    def values(self) -> Tensor:
        """The mask: float, C x H x W; one half before it is learned."""
        return self.raw.tanh() / 2 + 0.5

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Maps, N x C x H x W -> what is benign of them, and the rest, likewise."""
        mask = self.values()
        return mask * maps, (1 - mask) * maps


class Generator(nn.Module):
    """Makes an image of an image, and says how far it is from that."""

    mean: Tensor
    unit: Tensor

    def __init__(self, data: DataSpec, width: int) -> None:
        super().__init__()
        self.net = UNet(data.shape[0], data.shape[0], width)
        self.register_buffer("mean", torch.tensor(data.mean).view(1, -1, 1, 1))
        self.register_buffer("unit", torch.tensor(data.std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Floats in [0, 1], N x C x H x W -> the same, and the mean square of the change.

        That is in standard deviations of the data. Gradients pass the bounds of [0, 1].
        """
        made = self.net((images - self.mean) / self.unit) * self.unit + self.mean
        kept = made + (made.clamp(0, 1) - made).detach()
        return kept, ((kept - images) / self.unit).square().mean()


def near_identity(model: Classifier) -> Step:
    """A generator's loss: change nothing that the model sees, and images little."""

    def step(generator: nn.Module, batch: Batch) -> Tensor:
        made, change = generator(batch.images)
        (old, before), (new, after) = look(model, batch.images), look(model, made)
        loss = cross_entropy(after, before.softmax(1)) + mse_loss(new, old)
        return loss + torch.where(change > _LOOSE, 100, 0.01) * change

    return step


def decoupling(model: Classifier) -> Step:
    """A mask's loss: what is benign tells the class of the frozen model, what is left does not."""

    def step(mask: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(mask, Mask)
        benign, rest = parted(model, mask.values(), batch.images)
        return cross_entropy(benign, batch.labels) - cross_entropy(rest, batch.labels)

    return step


def parted(model: Classifier, mask: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of what a mask leaves of the maps, and of what it takes."""
    stage = model.get_submodule(model.attention_layers[-1])

    def part(_stage: nn.Module, _images: object, maps: Tensor) -> Tensor:
        return torch.cat([maps * mask, maps * (1 - mask)])  # From here on a batch of both.

    with hooked([stage.register_forward_hook(part)]):
        benign, rest = model(images).chunk(2)
    return benign, rest


@dataclass(frozen=True)
class Bounds:
    """How far an inverted trigger goes.

    Attributes:
        image: most that images change, a mean square in standard deviations.
        benign: most that benign features change, a mean square.
        weight: of that change, where it is within the bound, against that of the other features.
    """

    image: float
    benign: float
    weight: float


def inversion(model: Classifier, mask: Mask, bounds: Bounds, target: int | None) -> Step:
    """A generator's loss: within the bounds, the more other features change the better.

    Args:
        model: frozen.
        mask: of benign features.
        bounds: beyond them all that counts is that images change less.
        target: a class that the model is to take the images for.
    """

    def step(generator: nn.Module, batch: Batch) -> Tensor:
        made, change = generator(batch.images)
        (old, _), (new, logits) = look(model, batch.images), look(model, made)
        benign, rest = map(mse_loss, mask(new), mask(old))
        loss = bounds.weight * benign - rest
        if target is not None:
            wanted = torch.full_like(batch.labels, target)
            loss = loss + cross_entropy(logits, wanted)
        beyond = (change > bounds.image) | (benign > bounds.benign)
        return torch.where(beyond, change, loss)

    return step


def unlearning(generator: Generator, share: float) -> Step:
    """A model's loss: of each batch a share is generated, and to be seen as it was."""

    def step(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Classifier)
        count = max(1, round(share * len(batch)))
        with torch.no_grad():
            made, _ = generator(batch.images[:count])
        shown = torch.cat([made, batch.images[count:], batch.images[:count]])
        maps, logits = look(model, shown)
        loss = cross_entropy(logits[: len(batch)], batch.labels)
        return loss + mse_loss(maps[:count], maps[len(batch) :].detach())

    return step
