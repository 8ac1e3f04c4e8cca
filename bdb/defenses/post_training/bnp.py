"""BNP: prune channels whose running statistics, poison included, are not those of clean images."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.datasets.base import ImageSet
from bdb.defenses import masks, preactivations
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.defenses.preactivations import Moments
from bdb.method import Paper
from bdb.models import surgery
from bdb.registry import register


@register("bnp")
class BatchNormPruning(PostTraining):
    """Silence channels whose batch norm remembers another distribution than clean images have.

    A channel's divergence is that of two normal distributions: of what the norm takes in from
    clean images, augmented as in training, and of its running mean and variance.

    Differs: the authors' code and BackdoorBench weigh the logarithm in the divergence twice
    (`log_weight: 1`).
    """

    paper: ClassVar[Paper] = Paper(
        title="Pre-activation Distributions Expose Backdoor Neurons",
        authors="Zheng, Tang, Li, Liu",
        venue="NeurIPS",
        year=2022,
        url="https://openreview.net/forum?id=wwW-1k1ljIg",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    u: float | None = Field(
        3.0,
        gt=0,
        description="standard deviations above its layer's mean where a divergence is cut; null: "
        "as few as held-out accuracy allows",
    )
    log_weight: float = Field(
        0.5, ge=0, description="weight of the variances' log ratio; 0.5 is that of the divergence"
    )
    max_drop: float = Field(
        0.1, gt=0, le=1, description="u null: relative loss of held-out accuracy allowed"
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="u null: share of the clean set that decides"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Prune; nothing is fine-tuned. A network without batch norms stays as it is."""
        model = view.model
        norms = surgery.batch_norms(model)
        if norms and self.u is not None:
            masks.prune(norms.values(), self.order(view, view.clean_set), -self.u, keep_bias=False)
        elif norms:
            kept, held = view.split_clean(self.held_out)
            order = self.order(view, kept)
            last = masks.choose(model, order, held, self.max_drop, keep_bias=False)
            masks.prune(norms.values(), order, last, keep_bias=False)
        return Outcome(model=model)

    def order(self, view: DefenderView, clean: ImageSet) -> Tensor:
        """How far each channel's divergence lies below the mean of its layer, in deviations.

        Returns:
            One per channel, in the order of `surgery.batch_norms`: the lowest are pruned first.
        """
        images = view.augmentation(clean.images, view.generator("augment"))
        found = preactivations.moments(view.model, images)
        return -torch.cat(
            [
                surgery.deviations(self.divergence(found[name], norm))
                for name, norm in surgery.batch_norms(view.model).items()
            ]
        )

    @torch.no_grad()
    def divergence(self, clean: Moments, norm: nn.BatchNorm2d) -> Tensor:
        """Of what clean images send to a norm from what it remembers: float64, C.

        A norm that keeps no statistics remembers nothing else: 0.
        """
        if norm.running_mean is None or norm.running_var is None:
            return torch.zeros_like(clean.mean)
        kept, own = norm.running_var.double() + norm.eps, clean.variance + norm.eps
        shift = (clean.mean - norm.running_mean) ** 2
        return self.log_weight * (kept / own).log() + (own + shift) / (2 * kept) - 0.5
