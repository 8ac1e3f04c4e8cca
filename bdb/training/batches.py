"""What a training step sees, and how a data set is cut into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count

import torch
from torch import Tensor, nn

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.training.recipes import Recipe


@dataclass(frozen=True)
class Batch:
    """What a step sees.

    Attributes:
        pixels: uint8, B x C x H x W, not augmented.
        labels: int64, B.
        ids: int64, B: indices in the prepared training set.
        epoch: counts from 0.
        generator: draws on the batch's device.
        other: a batch of the second stream, if the training has one.
    """

    pixels: Tensor
    labels: Tensor
    ids: Tensor
    epoch: int
    augmentation: Augmentation
    generator: torch.Generator
    label_smoothing: float = 0.0
    other: Batch | None = None

    @cached_property
    def raw(self) -> Tensor:
        """The images without augmentation: float32 in [0, 1], B x C x H x W."""
        return to_float(self.pixels)

    @cached_property
    def images(self) -> Tensor:
        """The images as training should see them, augmented: float32 in [0, 1], B x C x H x W."""
        return to_float(self.augment(self.pixels))

    def augment(self, images: Tensor) -> Tensor:
        """Augment other images of this batch, of any dtype, with draws of their own."""
        return self.augmentation(images, self.generator, self.ids, self.epoch)

    def rand(self, *size: int) -> Tensor:
        """Draws in [0, 1): float32, on the batch's device."""
        return torch.rand(size, generator=self.generator, device=self.generator.device)

    def augmented(self) -> Batch:
        """The same batch with its augmentation done: nothing is left to draw."""
        return replace(self, pixels=self.augment(self.pixels), augmentation=Augmentation())

    def __len__(self) -> int:
        return len(self.labels)


Step = Callable[[nn.Module, Batch], Tensor]


class Batches:
    """Shuffled batches of nearly equal size, none of them tiny: batch norm needs company."""

    def __init__(
        self,
        data: ImageSet,
        recipe: Recipe,
        augmentation: Augmentation | None,
        generator: torch.Generator,
    ) -> None:
        self.data = data
        self.recipe = recipe
        self.augmentation = _augmentation(augmentation, recipe)
        self.generator = generator
        self.per_epoch = max(1, min(round(len(data) / recipe.batch_size), len(data) // 2))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Every sample once, in a new order."""
        draws = self.generator
        order = torch.randperm(len(self.data), generator=draws, device=draws.device)
        for index in order.tensor_split(self.per_epoch):
            yield Batch(
                pixels=self.data.images[index],
                labels=self.data.labels[index],
                ids=self.data.ids[index],
                epoch=epoch,
                augmentation=self.augmentation,
                generator=self.generator,
                label_smoothing=self.recipe.label_smoothing,
            )


def _augmentation(of_data: Augmentation | None, recipe: Recipe) -> Augmentation:
    """The data set's, with what the recipe changes in it."""
    if of_data is None or not recipe.augment:
        return Augmentation()
    padding = of_data.crop_padding if recipe.crop_padding is None else recipe.crop_padding
    changes = {
        "crop_padding": padding,
        "crop_border": recipe.crop_border,
        "alternate": recipe.flip == "alternate",
    }
    return of_data.model_copy(update=changes)


def beside(batches: Iterator[Batch], others: Batches, epoch: int) -> Iterator[Batch]:
    """Give every batch one of a second stream, which starts anew whenever it ends."""
    endless = chain.from_iterable(others.epoch(epoch) for _ in count())
    for batch, other in zip(batches, endless, strict=False):
        yield replace(batch, other=other)


def to_float(images: Tensor) -> Tensor:
    """Pixels as models take them: uint8 -> float32 in [0, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_bytes(images: Tensor) -> Tensor:
    """Pixels as they are stored: float in [0, 1] -> uint8, clamped before the cast."""
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8)
