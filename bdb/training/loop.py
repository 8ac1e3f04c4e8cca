"""The one training loop: victims, clean models and defenses differ by step, recipe and data.

The data lie on the device as uint8 for the whole run, and so do the draws that shuffle and augment
them. Nothing is evaluated unless the caller asks, and nothing is copied to or from the host inside
an epoch. Where a step allows it, a GPU gets the whole of it at once (`bdb.training.graphs`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as cross_entropy_loss
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from bdb.console import track
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.training import device as devices
from bdb.training import graphs, seeds
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
    """

    pixels: Tensor
    labels: Tensor
    ids: Tensor
    epoch: int
    augmentation: Augmentation
    generator: torch.Generator
    label_smoothing: float = 0.0

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
        return self.augmentation(images, self.generator)

    def rand(self, *size: int) -> Tensor:
        """Draws in [0, 1): float32, on the batch's device."""
        return torch.rand(size, generator=self.generator, device=self.generator.device)

    def augmented(self) -> Batch:
        """The same batch with its augmentation done: nothing is left to draw."""
        return replace(self, pixels=self.augment(self.pixels), augmentation=Augmentation())

    def __len__(self) -> int:
        return len(self.labels)


Step = Callable[[nn.Module, Batch], Tensor]
EpochEnd = Callable[[int, nn.Module], bool | None]


@graphs.recordable
def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """The default step: cross-entropy of the augmented images."""
    logits = model(batch.images)
    return cross_entropy_loss(logits, batch.labels, label_smoothing=batch.label_smoothing)


@dataclass(frozen=True)
class EpochRecord:
    """One row of history.parquet."""

    epoch: int
    loss: float
    lr: float
    seconds: float


def fit(
    model: nn.Module,
    data: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    step: Step = cross_entropy,
    augmentation: Augmentation | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    epoch_end: EpochEnd | None = None,
    train_mode: bool = True,
    what: str = "train",
) -> list[EpochRecord]:
    """Train a model in place, on the device where it lies.

    Args:
        model: takes floats in [0, 1].
        data: uint8 images; moved to the model's device once.
        recipe: schedule and optimiser.
        seed: of the batch order, the augmentation and the dropout.
        step: gives the loss of a batch.
        augmentation: none by default.
        parameters: what to train; every parameter by default.
        epoch_end: called with the epoch and the model; returning True ends the training.
        train_mode: False keeps batch statistics frozen.
        what: name shown in the progress line.

    Returns:
        One record per epoch.
    """
    device = next(model.parameters()).device
    trainable = list(model.parameters() if parameters is None else parameters)
    data = data.to(device)
    draws = seeds.generator(seed, "batches", device=device)
    batches = Batches(data, recipe, augmentation, draws)
    optimizer = make_optimizer(trainable, recipe, device)
    scheduler = _scheduler(optimizer, recipe, batches.per_epoch)
    devices.place(model, device)
    backward = graphs.backward(step, model, optimizer, device, recipe.epochs * batches.per_epoch)
    records = []
    with seeds.isolated(seeds.derive(seed, "layers")):
        for epoch in track(range(recipe.epochs), what):
            model.train(train_mode)
            start, lr = time.monotonic(), optimizer.param_groups[0]["lr"]
            total = torch.zeros((), device=device)
            for batch in batches.epoch(epoch):
                total += backward(batch)
                optimizer.step()
                scheduler.step()
            mean = float(total) / batches.per_epoch
            records.append(EpochRecord(epoch, mean, lr, time.monotonic() - start))
            if epoch_end is not None and epoch_end(epoch, model):
                break
    model.eval()
    return records


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
        self.augmentation = (augmentation if recipe.augment else None) or Augmentation()
        self.generator = generator
        self.per_epoch = max(1, round(len(data) / recipe.batch_size))

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


def to_float(images: Tensor) -> Tensor:
    """Pixels as models take them: uint8 -> float32 in [0, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_bytes(images: Tensor) -> Tensor:
    """Pixels as they are stored: float in [0, 1] -> uint8, clamped before the cast."""
    return images.float().clamp(0, 1).mul(255).round().to(torch.uint8)


def make_optimizer(
    parameters: list[nn.Parameter], recipe: Recipe, device: torch.device
) -> torch.optim.Optimizer:
    """The recipe's optimiser, fused where that exists."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam(
            parameters, recipe.lr, weight_decay=recipe.weight_decay, fused=device.type == "cuda"
        )
    return torch.optim.SGD(
        parameters,
        recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=device.type == "cuda",
    )


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, per_epoch: int) -> LRScheduler:
    steps = recipe.epochs * per_epoch
    if recipe.schedule == "onecycle":
        return OneCycleLR(
            optimizer, recipe.lr, total_steps=steps + 1, pct_start=0.3, cycle_momentum=False
        )
    if recipe.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
