"""t-SNE of a model's features."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bdb.analyses.embedding import Embedding
from bdb.method import Paper
from bdb.registry import register

if TYPE_CHECKING:
    import numpy as np


@register("tsne")
class TSNE(Embedding):
    """t-SNE of the penultimate features of clean and triggered test images.

    The table has one row per point: `split` (`clean`, `triggered`), `id`, true `label`, `target`
    (-1 where clean), `predicted`, and the coordinates `x` and `y`.
    """

    paper: ClassVar[Paper] = Paper(
        title="Visualizing Data using t-SNE",
        authors="van der Maaten, Hinton",
        venue="JMLR",
        year=2008,
        url="https://www.jmlr.org/papers/v9/vandermaaten08a.html",
    )
    method: ClassVar = "t-SNE"

    perplexity: float = Field(30.0, ge=2, le=200, description="size of a point's neighbourhood")

    def embed(self, features: np.ndarray, seed: int) -> np.ndarray:
        """Keep neighbours together."""
        from sklearn.manifold import TSNE as Neighbours  # noqa: N811

        perplexity = min(self.perplexity, (len(features) - 1) / 3)
        embedding = Neighbours(perplexity=perplexity, init="pca", random_state=seed)
        return embedding.fit_transform(features)
