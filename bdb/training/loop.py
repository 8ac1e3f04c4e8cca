"""The one training loop: victims, clean models and defenses differ by step, recipe and data.

The data lie on the device as uint8 for the whole run, and so do the draws that shuffle and augment
them. Nothing is evaluated unless the caller asks, and nothing is copied to or from the host inside
an epoch. Where a step allows it, a GPU gets the whole of it at once (`bdb.training.graphs`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as cross_entropy_loss

from bdb.console import track
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.training import device as devices
from bdb.training import graphs, optimizers, seeds
from bdb.training.averaging import Lookahead
from bdb.training.batches import Batch, Batches, Step, beside, to_bytes, to_float
from bdb.training.optimizers import make_optimizer
from bdb.training.recipes import Recipe

__all__ = [
    "Batch",
    "Batches",
    "Data",
    "EpochEnd",
    "EpochRecord",
    "Step",
    "Update",
    "cross_entropy",
    "fit",
    "make_optimizer",
    "to_bytes",
    "to_float",
]

EpochEnd = Callable[[int, nn.Module], bool | None]
Update = Callable[[nn.Module, Batch, torch.optim.Optimizer], None]
Data = ImageSet | Callable[[int], ImageSet]


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
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    step: Step = cross_entropy,
    other: Data | None = None,
    augmentation: Augmentation | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    before_update: Update | None = None,
    after_update: Update | None = None,
    epoch_end: EpochEnd | None = None,
    train_mode: bool = True,
    what: str = "train",
) -> list[EpochRecord]:
    """Train a model in place, on the device where it lies.

    Args:
        model: takes floats in [0, 1].
        data: uint8 images, moved to the model's device once; or a function of the epoch that gives
            them, asked at the start of each. The schedule is laid out for the size of the first;
            where later ones are larger, it stands still at its end.
        recipe: schedule and optimiser.
        seed: of the batch order, the augmentation and the dropout.
        step: gives the loss of a batch.
        other: a second stream: every batch gets one of its own from here, as `batch.other`.
        augmentation: none by default.
        parameters: what to train; every parameter by default.
        before_update: called with model, batch and optimiser when the gradients are there, which it
            may change; they are clipped afterwards. Not recorded as a graph, as `after_update`.
        after_update: called in the same way after the optimiser's step.
        epoch_end: called with the epoch and the model; returning True ends the training.
        train_mode: False keeps batch statistics frozen.
        what: name shown in the progress line.

    Returns:
        One record per epoch.
    """
    device = next(model.parameters()).device
    trainable = list(model.parameters() if parameters is None else parameters)
    source = _Source(data, other, recipe, augmentation, seed, device)
    steps = recipe.epochs * source.batches(0).per_epoch
    devices.place(model, device)
    _calibrate(model, source.batches(0).data)
    update = _Updating(model, trainable, recipe, steps, before_update, after_update)
    recordable = before_update is None and after_update is None and other is None
    backward = graphs.backward(step, model, update.optimizer, device, steps if recordable else 0)
    records = []
    with seeds.isolated(seeds.derive(seed, "layers")):
        for epoch in track(range(recipe.epochs), what):
            batches = source.batches(epoch)
            # A single image has no batch statistics: those that were learned serve.
            model.train(train_mode and len(batches.data) > 1)
            start, lr = time.monotonic(), update.lr
            total = torch.zeros((), device=device)
            for batch in source.stream(epoch):
                total += backward(batch)
                update(batch)
            mean = float(total) / batches.per_epoch
            records.append(EpochRecord(epoch, mean, lr, time.monotonic() - start))
            if epoch_end is not None and epoch_end(epoch, model):
                break
    model.eval()
    return records


def _calibrate(model: nn.Module, data: ImageSet) -> None:
    """Let a classifier look at its training images; the other networks of methods need not."""
    calibrate: Callable[[Tensor], None] | None = getattr(model, "calibrate", None)
    if calibrate is not None:
        calibrate(data.images)


class _Updating:
    """What follows when a batch's gradients are there, until the next batch."""

    def __init__(
        self,
        model: nn.Module,
        trainable: list[nn.Parameter],
        recipe: Recipe,
        steps: int,
        before: Update | None,
        after: Update | None,
    ) -> None:
        device = next(model.parameters()).device
        groups = optimizers.groups(model, trainable, recipe)
        self.model, self.trainable, self.steps = model, trainable, steps
        self.before, self.after, self.clip_norm = before, after, recipe.clip_norm
        self.optimizer = make_optimizer(groups, recipe, device)
        self.scheduler = optimizers.make_scheduler(self.optimizer, recipe, steps)
        self.lookahead = Lookahead(model, steps) if recipe.average_weights else None

    @property
    def lr(self) -> float:
        """The learning rate of the step to come."""
        return float(self.optimizer.param_groups[0]["lr"])

    def __call__(self, batch: Batch) -> None:
        """Change the weights, between the caller's two hooks, and then the rate."""
        if self.before is not None:
            self.before(self.model, batch, self.optimizer)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trainable, self.clip_norm)
        self.optimizer.step()
        if self.after is not None:
            self.after(self.model, batch, self.optimizer)
        if self.scheduler.last_epoch < self.steps:
            self.scheduler.step()
        if self.lookahead is not None:
            self.lookahead.after_step()


class _Source:
    """Where the batches of every epoch come from: one stream or two, of fixed or changing data."""

    def __init__(
        self,
        data: Data,
        other: Data | None,
        recipe: Recipe,
        augmentation: Augmentation | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.augmentation = augmentation
        self.draws = seeds.generator(seed, "batches", device=device)
        self.other_draws = seeds.generator(seed, "other batches", device=device)
        self._data = _by_epoch(data, device)
        self._other = None if other is None else _by_epoch(other, device)

    def batches(self, epoch: int) -> Batches:
        """Of the first stream."""
        return Batches(self._data(epoch), self.recipe, self.augmentation, self.draws)

    def stream(self, epoch: int) -> Iterator[Batch]:
        """The epoch's batches, each with its companion if there is a second stream."""
        batches = self.batches(epoch).epoch(epoch)
        if self._other is None:
            return batches
        others = Batches(self._other(epoch), self.recipe, self.augmentation, self.other_draws)
        return beside(batches, others, epoch)


def _by_epoch(data: Data, device: torch.device) -> Callable[[int], ImageSet]:
    """The data of an epoch on the device; a function is asked once for each."""
    if not isinstance(data, ImageSet):
        ask = data
        return lru_cache(maxsize=1)(lambda epoch: ask(epoch).to(device))
    there = data.to(device)
    return lambda _: there
