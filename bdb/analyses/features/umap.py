"""UMAP of a model's features."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bdb.analyses.embedding import Embedding
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.registry import register

if TYPE_CHECKING:
    import numpy as np


@register("umap")
class UMAP(Embedding):
    """UMAP of the penultimate features of clean and triggered test images.

    Distances between groups tell more than under t-SNE, and it takes less time for many points;
    umap-learn comes with `pip install 'bdb[analyses]'`.

    The table has one row per point: `split` (`clean`, `triggered`), `id`, true `label`, `target`
    (-1 where clean), `predicted`, and the coordinates `x` and `y`.
    """

    paper: ClassVar[Paper] = Paper(
        title="UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction",
        authors="McInnes, Healy, Melville",
        venue="arXiv",
        year=2018,
        url="https://arxiv.org/abs/1802.03426",
    )
    method: ClassVar = "UMAP"

    neighbors: int = Field(15, ge=2, le=200, description="size of a point's neighbourhood")
    min_dist: float = Field(0.1, ge=0, lt=1, description="how close points may lie")

    def embed(self, features: np.ndarray, seed: int) -> np.ndarray:
        """Keep the graph of neighbours.

        Raises:
            ParamsError: umap-learn is not installed.
        """
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
                from umap import UMAP as Neighbours  # noqa: N811
        except ModuleNotFoundError:
            raise ParamsError(
                "umap needs umap-learn, which is not installed; pip install 'bdb[analyses]', "
                "or leave it out"
            ) from None
        embedding = Neighbours(
            n_neighbors=min(self.neighbors, len(features) - 1),
            min_dist=self.min_dist,
            init="pca",
            random_state=seed,
            n_jobs=1,
        )
        return embedding.fit_transform(features)
