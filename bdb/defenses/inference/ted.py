"""TED: on its way through the network a triggered input comes to its class from elsewhere."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView
from bdb.defenses.rejection import Rejection, Score
from bdb.method import Paper, Trace
from bdb.models import surgery
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import inference


@register("ted")
class TopologicalEvolution(Rejection):
    """Reject inputs whose neighbours, stage by stage, are not of the class that is answered.

    After each stage and in the logits clean images are ordered by their distance to the input; how
    many come before the first of the class predicted is its rank there. The score is how far the
    ranks lie from those of clean images, each among the others.

    Differs: of the maps of a stage the means over a grid are compared, not every element; how far
    is the Mahalanobis distance, of which the paper's detector by principal components is a sum.
    """

    paper: ClassVar[Paper] = Paper(
        title="Robust Backdoor Detection for Deep Learning via Topological Evolution Dynamics",
        authors="Mo, Zhang, Zhang, Luo, Sun, Hu, Gao, Xiang",
        venue="IEEE S&P",
        year=2024,
        url="https://arxiv.org/abs/2312.02673",
    )
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})
    looks_at: ClassVar[Trace] = "features"

    grid: int = Field(4, ge=1, le=32, description="cells of a map to each side")

    def scorer(self, view: DefenderView, known: ImageSet) -> Score:
        """How unusual an input's ranks are."""
        paths = self.paths(view.model, known.images)
        labels = known.labels.cpu()
        answers = paths[-1].argmax(1)
        usual = ranks(paths, answers, paths, labels, apart=True)
        mean = usual.mean(0)
        centred = usual - mean
        # At least one place: where all clean images have one rank, no other is infinitely far.
        spread = centred.T @ centred / len(usual) + torch.eye(usual.shape[1])

        def score(images: Tensor) -> Tensor:
            theirs = self.paths(view.model, images)
            off = ranks(theirs, theirs[-1].argmax(1), paths, labels) - mean
            return (off * torch.linalg.solve(spread, off.T).T).sum(1)

        return score

    def paths(self, model: Classifier, images: Tensor) -> list[Tensor]:
        """What the network makes of images, stage by stage, and its logits: float32, N x F each."""
        layers = model.attention_layers
        sizes: list[int] = []

        def path(batch: Tensor) -> Tensor:
            with surgery.recording(model, layers) as seen:
                logits = model(batch)
            parts = [adaptive_avg_pool2d(seen[name].float(), self.grid) for name in layers]
            flat = [*(part.flatten(1) for part in parts), logits.float()]
            sizes[:] = [part.shape[1] for part in flat]
            return torch.cat(flat, 1)

        return list(
            inference.in_batches(path, images, next(model.parameters()).device).split(sizes, 1)
        )


def ranks(
    paths: list[Tensor],
    answers: Tensor,
    known: list[Tensor],
    labels: Tensor,
    *,
    apart: bool = False,
) -> Tensor:
    """How many known images are nearer than the first of the class answered: float32, N x stages.

    Args:
        paths: of the images, stage by stage, N x F.
        answers: the class that each was given, int64, N.
        known: paths of the known images, M x F.
        labels: their classes, int64, M; where none is of a class, all are nearer.
        apart: the images are the known ones, and none is its own neighbour.
    """
    every = []
    own = answers[:, None] == labels
    for stage, others in zip(paths, known, strict=True):
        far = torch.cdist(stage, others)
        if apart:
            far.fill_diagonal_(torch.inf)
        first = far.masked_fill(~own, torch.inf).amin(1, keepdim=True)
        every.append((far < first).sum(1).float())
    return torch.stack(every, 1)
