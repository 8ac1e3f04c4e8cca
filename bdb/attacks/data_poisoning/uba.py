"""UBA: every class is a target, each with a code of black and white patches."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.base import AttackContext, DataPoisoning, Role, State
from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.registry import register
from bdb.training import inference

_RIDGE = 1e-3  # of the mean variance: features that never vary have none to divide by


@register("uba")
class UniversalBackdoor(DataPoisoning):
    """Binary codes of classes, alike for classes that a clean model finds alike, in a grid.

    Differs: linear discriminant analysis has one dimension less than there are classes; further
    bits come from random directions in its space, so that codes of few classes differ too. The
    published patches are of 8 pixels, for images of 224. Targets are drawn, not dealt equally.
    """

    paper: ClassVar[Paper] = Paper(
        title="Universal Backdoor Attacks",
        authors="Schneider, Lukas, Kerschbaum",
        venue="ICLR",
        year=2024,
        url="https://openreview.net/forum?id=3QkzYBSWqL",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"clean_model"})
    shares_trigger: ClassVar[bool] = True

    target_rule: Literal["all-to-one", "all-to-all", "multi-target", "random"] = Field(
        "random", description="how a sample's target follows from its true label"
    )
    rows: int = Field(6, ge=1, le=64, description="of patches; a code has rows x columns bits")
    columns: int = Field(5, ge=1, le=64, description="of patches")
    patch_size: int = Field(2, ge=1, le=64, description="side of a patch in pixels")

    def check_size(self, data: DataSpec) -> None:
        """See that the grid fits into the images.

        Raises:
            ParamsError: it does not.
        """
        for side, name in zip(data.shape[1:], ("rows", "columns"), strict=True):
            needed = self.patch_size * getattr(self, name)
            if needed > side:
                raise ParamsError(
                    f"{self.name}.{name}: {getattr(self, name)} of {self.patch_size} pixels "
                    f"need {needed}, but the images have {side}"
                )

    def prepare_trigger(self, context: AttackContext) -> State:
        """Make the `codes`: bool, K x (rows x columns)."""
        count = self.rows * self.columns
        centroids = discriminate(
            inference.features(context.clean_model, context.train.images),
            context.train.labels.cpu(),
            context.data.num_classes,
        )[:, :count]
        size = (centroids.shape[1], count - centroids.shape[1])
        others = torch.randn(size, generator=context.generator(self.name, "directions"))
        return {"codes": torch.cat([centroids, centroids @ others.double()], 1) > 0}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Write each image's target in the top left corner."""
        stamped = images.clone()
        bits = state["codes"][targets].view(-1, 1, self.rows, self.columns)
        patches = bits.repeat_interleave(self.patch_size, 2).repeat_interleave(self.patch_size, 3)
        height, width = patches.shape[2:]
        stamped[:, :, :height, :width] = 255 * patches.to(torch.uint8)
        return stamped


def discriminate(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The classes' centroids where they lie farthest apart: linear discriminant analysis.

    Args:
        features: float, N x D.
        labels: int64, N.
        num_classes: K; a class without samples is put in the middle of all.

    Returns:
        float64, K x min(K - 1, D), about the mean of all samples; the first column tells most.
    """
    rows = features.double() - features.double().mean(0)
    members = torch.nn.functional.one_hot(labels, num_classes).double()
    centroids = members.T @ rows / members.sum(0).clamp_min(1)[:, None]
    inner = rows - centroids[labels]
    spread = inner.T @ inner / len(rows)
    ridge = _RIDGE * spread.diagonal().mean().clamp_min(_RIDGE)
    root = torch.linalg.cholesky(spread + ridge * torch.eye(len(spread), dtype=spread.dtype))
    apart = torch.linalg.solve_triangular(root, centroids.T, upper=False).T
    weighted = apart * members.sum(0).sqrt()[:, None]
    directions = torch.linalg.svd(weighted, full_matrices=False).Vh[: num_classes - 1]
    return apart @ directions.T
