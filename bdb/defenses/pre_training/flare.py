"""FLARE: poison surprises the layers of the network in a way of its own."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import filtering, preactivations
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register


@register("flare")
class Flare(PreTraining):
    """Cluster all samples by how much they surprise each batch norm; keep the largest cluster.

    The surprise is that of the least likely input of a norm, given its running statistics. It asks
    for neither labels nor clean images: poison may be of every class, or most of one; it is taken
    for the smaller part of the whole training set. What a cluster is, one number decides, so that
    what stands apart is dropped even where it is too little for a cluster of its own. A trigger
    that covers the image surprises no layer more than clean samples do: on digits a patch is found
    at every ratio, all-to-all too, `blended`, `wanet`, `lf` and `sig` are not.

    Differs: the surprises themselves are clustered, where the paper first lays them out in the
    plane by UMAP. The tree of clusters is cut at a multiple of what is usual between neighbours,
    where the paper walks down until a branch lasts, and leaves late layers out if none does.
    """

    paper: ClassVar[Paper] = Paper(
        title="FLARE: Toward Universal Dataset Purification against Backdoor Attacks",
        authors="Hou, Luo, Hua, Chen, Zhang, Li",
        venue="IEEE TIFS",
        year=2025,
        url="https://arxiv.org/abs/2411.19479",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"batch_norm"})

    least: int = Field(100, ge=2, description="samples of a cluster")
    apart: float = Field(
        3.0,
        ge=1,
        description="distance between clusters, in usual ones from a sample to its `least`-th next",
    )

    def run(self, view: DefenderView) -> Outcome:
        """Drop what is not of the largest cluster, score by the distance, and train again."""
        found = surprises(view.model, view.train_set.images).double()
        deviation = found.std(0, correction=0)
        points = (found - found.mean(0)) / deviation.where(deviation > 0, 1)
        flagged = ~self.largest(points)
        centre = points[~flagged].mean(0)
        return filtering.without(self, view, (points - centre).norm(dim=1).float(), flagged)

    def largest(self, points: Tensor) -> Tensor:
        """Which of N x L points are of the largest cluster, or all if there is none: bool, N."""
        from sklearn.cluster import HDBSCAN
        from sklearn.neighbors import NearestNeighbors

        rows, least = points.numpy(), min(self.least, len(points) // 2)
        if least < 2 or not rows.any():
            return torch.ones(len(points), dtype=torch.bool)
        reach, _ = NearestNeighbors(n_neighbors=least).fit(rows).kneighbors(rows)
        tree = HDBSCAN(min_cluster_size=least, copy=True).fit(rows)
        cut = self.apart * float(np.median(reach[:, -1]))
        clusters = torch.from_numpy(tree.dbscan_clustering(cut, min_cluster_size=least))
        sizes = clusters[clusters >= 0].bincount()
        return clusters == sizes.argmax() if len(sizes) else clusters < 0


def surprises(model: Classifier, images: Tensor) -> Tensor:
    """The largest negative log-likelihood of what each batch norm takes in: float32, N x layers."""
    norms = surgery.batch_norms(model)
    parts: defaultdict[str, list[Tensor]] = defaultdict(list)

    def see(name: str, maps: Tensor) -> None:
        norm = norms[name]
        if norm.running_mean is None or norm.running_var is None:
            return  # It expects nothing.
        variance = (norm.running_var + norm.eps).view(-1, 1, 1)
        doubt = (maps.float() - norm.running_mean.view(-1, 1, 1)).square() / variance
        parts[name].append((doubt + variance.log()).amax((1, 2, 3)).cpu() / 2)

    preactivations.visit(model, images, see)
    return torch.stack([torch.cat(seen) for seen in parts.values()], 1)
