"""Activation Clustering: a poisoned class falls into two clusters."""

from __future__ import annotations

import warnings
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.defenses import filtering
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.registry import register
from bdb.training import inference


@register("ac")
class ActivationClustering(PreTraining):
    """Cluster each class's features in two; drop the smaller cluster where it stands apart.

    Poison is taken for the smaller part of its class, so that where it is the larger, the clean
    part is dropped or, above `max_share`, nothing.

    Differs: the published decisions are one of size, silhouette and reclassification; here the
    silhouette comes first and one of the other two after it.
    """

    paper: ClassVar[Paper] = Paper(
        title="Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering",
        authors="Chen, Carvalho, Baracaldo, Ludwig, Edwards, Lee, Molloy, Srivastava",
        venue="SafeAI workshop, AAAI",
        year=2019,
        url="https://arxiv.org/abs/1811.03728",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "features"})

    reduction: Literal["pca", "ica"] = Field("ica", description="how features are reduced")
    dimensions: int = Field(10, ge=1, le=512, description="of the reduced features")
    min_silhouette: float = Field(
        0.15, ge=-1, le=1, description="mean silhouette from which a class is suspect"
    )
    decision: Literal["size", "reclassify"] = Field(
        "size", description="what convicts a cluster that stands apart: max_share, or max_own"
    )
    max_share: float = Field(
        0.35, gt=0, le=0.5, description="size: largest share of its class that poison may have"
    )
    max_own: float = Field(
        1.0,
        gt=0,
        description="reclassify: a model trained without the cluster sees less than so many of its "
        "samples as their class for each that it sees as their most frequent other class",
    )

    def run(self, view: DefenderView) -> Outcome:
        """Cluster, drop and train again.

        A sample's score says how far it leans to the smaller cluster, in proportion to how well its
        class falls apart. Classes with no more samples than dimensions are left alone, and score 0;
        so are those whose samples are all alike.
        """
        scores = torch.zeros(len(view.train_set))
        suspects = []
        seed = int(view.rng("clusters").integers(2**32))
        for positions, features in filtering.class_features(view):
            if len(positions) <= self.dimensions:
                continue
            leaning, silhouette = self.split(features.numpy(), seed)
            scores[positions] = torch.from_numpy(silhouette * leaning).float()
            if silhouette >= self.min_silhouette and (leaning > 0).any():
                suspects.append((positions, torch.from_numpy(leaning > 0)))
        flagged = self.convict(view, suspects)
        return filtering.without(self, view, scores, flagged)

    def convict(self, view: DefenderView, suspects: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Which samples to drop.

        Args:
            view: with the training set.
            suspects: the positions of each class that falls apart (int64, n), and which of them
                form the smaller cluster (bool, n).

        Returns:
            bool, one per training sample, on the CPU.
        """
        clusters = [positions[small] for positions, small in suspects]
        if self.decision == "size":
            shares = (float(small.float().mean()) for _, small in suspects)
            guilty = [share <= self.max_share for share in shares]
        else:
            guilty = self.reclassified(view, clusters) if clusters else []
        flagged = torch.zeros(len(view.train_set), dtype=torch.bool)
        for positions, is_guilty in zip(clusters, guilty, strict=True):
            flagged[positions] = is_guilty
        return flagged

    def reclassified(self, view: DefenderView, clusters: list[Tensor]) -> list[bool]:
        """Train without all the clusters; which of them the model gives to other classes."""
        data = view.train_set
        kept = torch.ones(len(data), dtype=torch.bool)
        kept[torch.cat(clusters)] = False
        model = view.build_model("reclassify")
        view.fit(model, data[kept.to(data.labels.device)], view.recipe, what="reclassify")
        guilty = []
        for positions in clusters:
            own = int(data.labels[positions[0]])
            images = data.images[positions.to(data.images.device)]
            seen = inference.logits(model, images).argmax(1).bincount(minlength=own + 1)
            as_own = int(seen[own])
            seen[own] = 0
            guilty.append(as_own < self.max_own * int(seen.max()))
        return guilty

    def split(self, features: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        """Cluster the features of one whole class, n x D.

        Returns:
            How each sample leans, from -1 (centre of the larger cluster) to 1 (centre of the
            smaller): n; and the mean silhouette. Both are 0 if all samples are alike.
        """
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score

        points = self.reduce(features, seed)
        if not points.size:
            return np.zeros(len(features)), 0.0
        clusters = KMeans(2, n_init=10, random_state=seed).fit(points)
        small = np.bincount(clusters.labels_).argmin()
        distance = clusters.transform(points)
        near, far = distance[:, small], distance[:, 1 - small]
        return (far - near) / (far + near), float(silhouette_score(points, clusters.labels_))

    def reduce(self, features: np.ndarray, seed: int) -> np.ndarray:
        """Fewer dimensions, at most as many as the features span: n x `dimensions`."""
        from sklearn.decomposition import FastICA
        from sklearn.exceptions import ConvergenceWarning

        points = filtering.principal(features, self.dimensions)
        if self.reduction == "pca" or not points.size:
            return points
        with warnings.catch_warnings():
            # Components that have not settled still separate what is separate.
            warnings.simplefilter("ignore", ConvergenceWarning)
            whitened = FastICA(points.shape[1], random_state=seed).fit_transform(points)
        independent: np.ndarray = whitened
        return independent
