"""Activation Clustering: a poisoned class falls into two clusters."""

from __future__ import annotations

import warnings
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from bdb.defenses import filtering
from bdb.defenses.base import DefenderView, Defense, Outcome
from bdb.method import Paper
from bdb.registry import register


@register("ac")
class ActivationClustering(Defense):
    """Cluster each class's features in two; drop the smaller cluster where it stands apart."""

    paper: ClassVar[Paper] = Paper(
        title="Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering",
        authors="Chen, Carvalho, Baracaldo, Ludwig, Edwards, Lee, Molloy, Srivastava",
        venue="SafeAI workshop, AAAI",
        year=2019,
        url="https://arxiv.org/abs/1811.03728",
    )
    stage: ClassVar = "pre-training"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "features"})

    reduction: Literal["pca", "ica"] = Field("ica", description="how features are reduced")
    dimensions: int = Field(10, ge=1, le=512, description="of the reduced features")
    min_silhouette: float = Field(
        0.15, ge=-1, le=1, description="mean silhouette from which a class is suspect"
    )
    max_share: float = Field(
        0.35, gt=0, le=0.5, description="largest share of its class that a poison cluster may have"
    )

    def run(self, view: DefenderView) -> Outcome:
        """Cluster, drop and train again.

        A sample's score says how far it leans to the smaller cluster, in proportion to how well its
        class falls apart. Classes with no more samples than dimensions are left alone, and score 0.
        """
        scores = torch.zeros(len(view.train_set))
        flagged = torch.zeros(len(view.train_set), dtype=torch.bool)
        seed = int(view.rng("clusters").integers(2**32))
        for positions, features in filtering.class_features(view):
            if len(positions) <= self.dimensions:
                continue
            leaning, silhouette = self.split(features.numpy(), seed)
            scores[positions] = torch.from_numpy(silhouette * leaning).float()
            small = leaning > 0
            if silhouette >= self.min_silhouette and small.mean() <= self.max_share:
                flagged[positions] = torch.from_numpy(small)
        model = filtering.retrain(view, flagged)
        return Outcome(model=model, scores={"train": scores}, flagged={"train": flagged})

    def split(self, features: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
        """Cluster the features of one whole class, n x D.

        Returns:
            How each sample leans, from -1 (centre of the larger cluster) to 1 (centre of the
            smaller): n; and the mean silhouette.
        """
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score

        points = self.reduce(features, seed)
        clusters = KMeans(2, n_init=10, random_state=seed).fit(points)
        small = np.bincount(clusters.labels_).argmin()
        distance = clusters.transform(points)
        near, far = distance[:, small], distance[:, 1 - small]
        return (far - near) / (far + near), float(silhouette_score(points, clusters.labels_))

    def reduce(self, features: np.ndarray, seed: int) -> np.ndarray:
        """Fewer dimensions, at most as many as the features have: n x `dimensions`."""
        from sklearn.decomposition import PCA, FastICA
        from sklearn.exceptions import ConvergenceWarning

        size = min(self.dimensions, features.shape[1])
        reduction = {"pca": PCA, "ica": FastICA}[self.reduction](size, random_state=seed)
        with warnings.catch_warnings():
            # Components that have not settled still separate what is separate.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return reduction.fit_transform(features)
