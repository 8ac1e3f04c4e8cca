"""UMAP of a model's features."""

from __future__ import annotations

import io
import subprocess
import sys
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
from pydantic import Field

from bdb.analyses.embedding import Embedding
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.registry import register

# By itself: beside torch, what it compiles ends in a crash of the next backward pass now and then.
_PROGRAM = """
import io, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from umap import UMAP
neighbors, min_dist, seed = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
features = np.load(io.BytesIO(sys.stdin.buffer.read()))
graph = UMAP(neighbors, min_dist=min_dist, init="pca", random_state=seed, n_jobs=1)
np.save(sys.stdout.buffer, graph.fit_transform(features))
"""


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
        if find_spec("umap") is None:
            raise ParamsError(
                "umap needs umap-learn, which is not installed; pip install 'bdb[analyses]', "
                "or leave it out"
            )
        given = io.BytesIO()
        np.save(given, features)
        told = (min(self.neighbors, len(features) - 1), self.min_dist, seed)
        command = [sys.executable, "-c", _PROGRAM, *map(str, told)]
        done = subprocess.run(command, input=given.getvalue(), stdout=subprocess.PIPE, check=True)
        placed: np.ndarray = np.load(io.BytesIO(done.stdout))
        return placed
