"""Deep Partition Aggregation: so many networks, and each sample is seen by one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bdb.datasets.base import ImageSet
from bdb.defenses import elections
from bdb.defenses.base import DefenderView, InTraining, Outcome
from bdb.defenses.elections import Election
from bdb.errors import ParamsError, unknown
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier, wrapper
from bdb.models.wrappers import Ensemble
from bdb.registry import register
from bdb.training.recipes import Recipe


@register("dpa")
class DeepPartitionAggregation(InTraining):
    """Train a network on each part of the training set, and let them vote; the answer is certified.

    A sample put in or taken out changes one network, so that an answer stands as many of them as
    the vote's margin outweighs. A changed image may be two of them, a changed label is one. At the
    ratios of attacks on whole training sets every part is poisoned, and the vote is the attacker's.

    Differs: the networks are of the suspect's architecture, where the paper takes NiN; the rate
    falls along a cosine, where it is multiplied by .2 three times. `runoff` is the election of
    Rezaei, Banihashem, Chegini, Feizi (Run-Off Election: Improved Provable Defense against Data
    Poisoning Attacks, ICML 2023); `plurality` is the paper's.
    """

    paper: ClassVar[Paper] = Paper(
        title="Deep Partition Aggregation: Provable Defense against General Poisoning Attacks",
        authors="Levine, Feizi",
        venue="ICLR",
        year=2021,
        url="https://arxiv.org/abs/2006.14768",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"train_set"})
    hides: ClassVar[frozenset[str]] = frozenset({"features", "maps"})
    certifies: ClassVar[str | None] = "training samples inserted or removed"

    partitions: int = Field(50, ge=2, le=2000, description="parts, and networks")
    election: Election = Field("runoff", description="with a second vote, between the two ahead")
    epochs: int = Field(200, ge=1, description="passes over each part")
    batch_size: int = Field(128, ge=2, description="samples per step")
    lr: float = Field(0.1, gt=0, description="learning rate at the start")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="of every network")

    def run(self, view: DefenderView) -> Outcome:
        """Train them one after the other; nothing that one part holds reaches another's network."""
        numbered = enumerate(parts(view.train_set, self.partitions))
        first, *others = (self.member(view, index, part) for index, part in numbered)
        return Outcome(model=models.wrap(first, "vote", *others, election=self.election))

    def member(self, view: DefenderView, index: int, part: ImageSet) -> Classifier:
        """One part's network; without a sample it stays as it was drawn."""
        network = view.build_model("dpa", index)
        recipe = Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            nesterov=True,
            weight_decay=self.weight_decay,
        )
        if len(part):
            view.fit(network, part, recipe, what=f"part {index}")
        return network.eval()


def parts(data: ImageSet, count: int) -> Iterator[ImageSet]:
    """Each image's part is the sum of its pixels modulo `count`; within it content gives the order.

    So neither the part nor the place of a sample depends on any other sample.
    """
    pixels, labels = data.images.flatten(1).cpu(), data.labels.cpu()
    rows = torch.cat([pixels, labels[:, None].view(torch.uint8)], 1).numpy()
    order = torch.from_numpy(np.argsort(rows.view(f"V{rows.shape[1]}").ravel(), kind="stable"))
    own = pixels.sum(1, dtype=torch.int64)[order] % count
    for index in range(count):
        chosen = order[own == index].to(data.labels.device)
        yield ImageSet.whole(data.images[chosen], data.labels[chosen])


@wrapper("vote")
class Vote(Ensemble):
    """An ensemble whose answers are elected, and certified by the votes.

    Args:
        inner: the first member.
        members: the others.
        election: `plurality` or `runoff`. Of equal votes the lower class wins.

    Raises:
        ParamsError: there is no such election.
    """

    def __init__(self, inner: Classifier, *members: Classifier, election: Election) -> None:
        super().__init__(inner, *members, vote="majority")
        if election not in ("plurality", "runoff"):
            raise ParamsError(unknown("election", election, ("plurality", "runoff")))
        self.election = election

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> logarithm of the shares of the last votes, N x K."""
        votes = elections.tally(self.each(images), self.election)
        shares = votes / (1 + len(self.others))
        return shares.clamp_min(torch.finfo(torch.float32).tiny).log()

    def certificates(self, images: Tensor) -> Tensor:
        """How many members may change their minds before an answer can."""
        return elections.certify(self.each(images), self.election)
