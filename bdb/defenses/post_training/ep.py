"""EP: prune channels whose pre-activations, where poison stands apart, have little entropy."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import preactivations
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.defenses.preactivations import Moments
from bdb.method import Paper
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register

_REACH = 100  # standard deviations: no more than one value in 10,000 lies beyond
_ROUNDING = 1e-10  # relative to the square of the mean: what is less is no variance


@register("ep")
class EntropyPruning(PostTraining):
    """Silence channels whose standardised pre-activations have outlying little entropy.

    Of the poisoned training set, no labels are read and no clean image is needed. A few values
    far away from the rest leave little entropy, once all have unit variance.

    `over: images` takes each map's mean for one value, where the published estimate takes every
    place of every map. On digits it finds `blended`, which the other does not, and misses patches;
    but it may cost a clean model a quarter of its accuracy.

    Differs: BackdoorBench looks at 256 training images, among which few are poison.
    """

    paper: ClassVar[Paper] = Paper(
        title="Pre-activation Distributions Expose Backdoor Neurons",
        authors="Zheng, Tang, Li, Liu",
        venue="NeurIPS",
        year=2022,
        url="https://openreview.net/forum?id=wwW-1k1ljIg",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    u: float = Field(
        3.0, gt=0, description="standard deviations below its layer's mean where entropy is cut"
    )
    over: Literal["places", "images"] = Field(
        "places", description="whose values are counted: every place of a map, or each map's mean"
    )
    bin_width: float = Field(0.1, ge=0.01, description="in standard deviations of the channel")
    samples: int | None = Field(
        None, ge=1, description="training images that are looked at; null: all"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Prune; a network without batch norms stays as it is."""
        images = view.train_set.images
        if self.samples is not None:
            order = torch.randperm(len(images), generator=view.generator("samples"))
            images = images[order[: self.samples].to(images.device)]
        found = self.entropies(view.model, images)
        for name, norm in surgery.batch_norms(view.model).items():
            surgery.prune(norm, surgery.outliers(-found[name], self.u))
        return Outcome(model=view.model)

    def entropies(self, model: Classifier, images: Tensor) -> dict[str, Tensor]:
        """The entropy of each channel's standardised pre-activations, up to a constant.

        Returns:
            By batch norm, float64, C. What never changes has none that could be told: it gets the
            layer's largest, so that it is never pruned.
        """
        pooled = self.over == "images"
        scales = preactivations.moments(model, images, pooled=pooled)
        counts: dict[str, Tensor] = {}

        def count(name: str, maps: Tensor) -> None:
            found = histograms(maps, scales[name], self.bin_width)
            counts[name] = counts[name] + found if name in counts else found

        preactivations.visit(model, images, count, pooled=pooled)
        entropies = {}
        for name, found in counts.items():
            shares = found.double() / found.sum(1, keepdim=True)
            entropy = -torch.special.xlogy(shares, shares).sum(1)
            still = scales[name].variance <= _ROUNDING * scales[name].mean ** 2
            entropies[name] = torch.where(still, entropy.max(), entropy)
        return entropies


def histograms(maps: Tensor, scale: Moments, bin_width: float) -> Tensor:
    """How many of each channel's values fall into each bin, in standard deviations of the channel.

    Args:
        maps: float, n x C x H x W.
        scale: of the channels, over all images.
        bin_width: in standard deviations.

    Returns:
        int64, C x bins; the first and the last bin hold what lies beyond them as well.
    """
    bins, channels = round(2 * _REACH / bin_width), maps.shape[1]
    mean = scale.mean.float()[:, None, None]
    deviation = scale.variance.sqrt().float().clamp(min=1e-12)[:, None, None]
    places = ((maps - mean) / deviation + _REACH) / bin_width
    first = bins * torch.arange(channels, device=maps.device)[:, None, None]
    index = places.clamp(0, bins - 1).long() + first
    return torch.bincount(index.flatten(), minlength=bins * channels).view(channels, bins)
