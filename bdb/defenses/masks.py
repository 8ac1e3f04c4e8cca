"""Masks over batch-norm channels: learned on a frozen network, and cut at a threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.models import base as models
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.training import inference
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe

_TRIALS = 32  # thresholds tried at a time: the cost of a choice, whatever the number of channels


class MaskPruning(PostTraining):
    """Learns a mask over batch-norm channels on clean images, and prunes where it is low."""

    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    threshold: float | None = Field(
        0.2,
        ge=0,
        le=1,
        description="masks up to here are pruned; null: as high as held-out accuracy allows",
    )
    max_drop: float = Field(
        0.1, gt=0, le=1, description="threshold null: relative loss of held-out accuracy allowed"
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="threshold null: share of the clean set that decides"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Prune; nothing is fine-tuned. A network without batch norms stays as it is."""
        model = view.model
        norms = surgery.batch_norms(model)
        if norms and self.threshold is not None:
            prune(norms.values(), self.learn(view, view.clean_set), self.threshold)
        elif norms:
            kept, held = view.split_clean(self.held_out)
            mask = self.learn(view, kept)
            prune(norms.values(), mask, choose(model, mask, held, self.max_drop))
        return Outcome(model=model)

    def learn(self, view: DefenderView, data: ImageSet) -> Tensor:
        """One mask per batch-norm channel, in [0, 1], in the order of `surgery.batch_norms`."""
        raise NotImplementedError


class Masked:
    """A frozen model, run with other batch-norm scales and biases."""

    def __init__(self, model: Classifier) -> None:
        self.model = model.requires_grad_(False)
        norms = surgery.batch_norms(model)
        self.names = list(norms)
        self.sizes = [norm.num_features for norm in norms.values()]
        self.scales = torch.cat([norm.weight for norm in norms.values()])
        self.biases = torch.cat([norm.bias for norm in norms.values()])

    def loss(self, mask: Tensor, batch: Batch, noise: Tensor | None = None) -> Tensor:
        """Cross-entropy of the batch with scales times (mask + noise), biases times (1 + noise).

        Args:
            mask: one per channel.
            batch: whose images are augmented.
            noise: 2 x channels, of scales and biases; none by default.
        """
        noise = torch.zeros_like(mask).expand(2, -1) if noise is None else noise
        scales = (self.scales * (mask + noise[0])).split(self.sizes)
        biases = (self.biases * (1 + noise[1])).split(self.sizes)
        changed: dict[str, Tensor] = {}
        for name, scale, bias in zip(self.names, scales, biases, strict=True):
            changed |= {f"{name}.weight": scale, f"{name}.bias": bias}
        return cross_entropy(functional_call(self.model, changed, (batch.images,)), batch.labels)


def learn(
    view: DefenderView,
    model: Classifier,
    data: ImageSet,
    recipe: Recipe,
    loss: Callable[[Masked, Tensor, Batch], Tensor],
) -> Tensor:
    """Masks that begin at 1, stay in [0, 1], and lower a loss of the network under them.

    Args:
        view: trains.
        model: stays as it is.
        data: to learn from.
        recipe: of the masks.
        loss: of the masked model, the mask and a batch.

    Returns:
        One per batch-norm channel, in the order of `surgery.batch_norms`.
    """
    # Training moves the running statistics, so it has a model of its own.
    masked = Masked(models.duplicate(model))
    mask = nn.Parameter(torch.ones_like(masked.scales))

    def step(_model: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            mask.clamp_(0, 1)
        return loss(masked, mask, batch)

    view.fit(masked.model, data, recipe, step=step, parameters=[mask])
    return mask.detach().clamp(0, 1)


def prune(
    norms: Iterable[nn.BatchNorm2d], mask: Tensor, threshold: float, *, keep_bias: bool = True
) -> None:
    """Silence the channels whose mask is at most the threshold.

    Args:
        norms: changed in place.
        mask: one per channel of theirs, in their order.
        threshold: of the masks.
        keep_bias: leave the channels at a constant rather than at zero.
    """
    norms = list(norms)
    parts = mask.split([norm.num_features for norm in norms])
    for norm, part in zip(norms, parts, strict=True):
        surgery.prune(norm, part <= threshold, keep_bias=keep_bias)


def choose(
    model: Classifier, mask: Tensor, held: ImageSet, max_drop: float, *, keep_bias: bool = True
) -> float:
    """The highest mask up to which held-out accuracy stays above what `max_drop` allows.

    Every mask is a threshold, so channels go one by one. Some thresholds over the whole range
    are tried, then some between the highest that passed and the next, until none is left
    between: accuracy may well have been too low, and risen again, below the one chosen.

    Returns:
        The threshold; below every mask, so that nothing is pruned, if none of those tried passes.
    """
    floor = (1 - max_drop) * inference.accuracy(model, held.images, held.labels)

    def passes(threshold: float) -> bool:
        trial = models.duplicate(model)
        prune(surgery.batch_norms(trial).values(), mask, threshold, keep_bias=keep_bias)
        return inference.accuracy(trial, held.images, held.labels) > floor

    levels = [-np.inf, *mask.unique().tolist()]
    low, high = 0, len(levels)
    while high - low > 1:
        tried = np.linspace(low + 1, high - 1, _TRIALS).round().astype(int).tolist()
        low = max((n for n in dict.fromkeys(tried) if passes(levels[n])), default=low)
        high = min((n for n in tried if n > low), default=high)
    return levels[low]
