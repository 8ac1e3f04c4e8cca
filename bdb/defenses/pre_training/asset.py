"""ASSET: a network forgets clean images, and is driven from the labels of what is unlike them."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from bdb.datasets.augmentation import Augmentation
from bdb.defenses import filtering, outliers
from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.method import Paper
from bdb.registry import register
from bdb.training import inference
from bdb.training.loop import Batch, Step
from bdb.training.recipes import Recipe


@register("asset")
class ActiveSeparation(PreTraining):
    """Drop samples whose loss an offset between clean images and the training set drives up.

    In every step the suspect is to answer clean images with the same logit for every class, and to
    have a large loss on what a small network, trained in that moment to tell the batch's features
    from clean ones, holds for outliers. What is like clean images goes with them. Poison may be
    most of its class, of clean labels, and all over the image: on digits AUROC is 1.00 for a patch
    or a picture at 10 %, .98 for the patch at 2 %, .99 for `wanet`, whose cross samples go as well,
    and .96 for `sig`. At 1 %, one poison to a batch, it is no more than .6; all-to-all .76.

    Differs: both losses go into one step, whose rate and number are ours, as those of the small
    network are (10 steps, where the reference takes 100 of a tenth of the rate). Features are those
    of the suspect as it came: while it forgets, its own lose what tells poison. An outlier is told
    by median absolute deviations, where the paper adjusts for skew, to which poison itself adds.
    The threshold is that of clean images held out, not of a Gaussian mixture's tail.
    """

    paper: ClassVar[Paper] = Paper(
        title="ASSET: Robust Backdoor Data Detection Across a Multiplicity of Deep Learning "
        "Paradigms",
        authors="Pan, Zeng, Lyu, Lin, Jia",
        venue="USENIX Security",
        year=2023,
        url="https://arxiv.org/abs/2302.11408",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set", "clean_set", "features"})
    requires: ClassVar[frozenset[str]] = frozenset({"features"})

    epochs: int = Field(16, ge=1, description="passes over the training set")
    batch_size: int = Field(128, ge=2, description="samples per step, and clean images beside them")
    lr: float = Field(1e-3, gt=0, description="learning rate of Adam")
    search_steps: int = Field(10, ge=1, description="that train the small network in every step")
    search_lr: float = Field(1e-3, gt=0, description="learning rate of its Adam")
    width: int = Field(128, ge=1, description="units of each of its two hidden layers")
    outlyingness: float = Field(2.5, gt=0, description="deviations from which a sample is driven")
    held_out: float = Field(0.5, gt=0, lt=1, description="share of the clean set for the threshold")
    false_positive_rate: float = Field(0.05, gt=0, lt=1, description="share of these above it")

    def run(self, view: DefenderView) -> Outcome:
        """Offset; a sample's score is its loss afterwards; train again without the highest.

        Raises:
            ParamsError: the clean set has a single image.
        """
        model, data = view.model, view.train_set
        known, held = view.split_clean(self.held_out)
        recipe = Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer="adam",
            lr=self.lr,
            weight_decay=0,
        )
        options = {"other": known, "augmentation": Augmentation(), "train_mode": False}
        view.fit(model, data, recipe, step=self.offset(view), what="offset", **options)
        scores, usual = (
            cross_entropy(inference.logits(model, s.images), s.labels.cpu(), reduction="none")
            for s in (data, held)
        )
        flagged = scores > usual.quantile(1 - self.false_positive_rate)
        return filtering.without(self, view, scores, flagged)

    def offset(self, view: DefenderView) -> Step:
        """Level the logits of clean images, and drive the batch's outliers from their labels."""
        found, sets = (view.features, view.clean_features), (view.train_set, view.clean_set)
        given, clean = (  # Row i is of the sample with id i.
            each.penultimate[part.ids.cpu().argsort()].to(view.device)
            for each, part in zip(found, sets, strict=True)
        )

        def step(model: nn.Module, batch: Batch) -> Tensor:
            assert batch.other is not None
            unlike = self.unlike(given[batch.ids], clean[batch.other.ids])
            odd = outliers.deviations(unlike) > self.outlyingness
            loss = cross_entropy(model(batch.raw), batch.labels, reduction="none")
            leveled = model(batch.other.raw).float().var(1).mean()
            return leveled - (odd * loss).sum() / odd.sum().clamp_min(1)

        return step

    def unlike(self, given: Tensor, clean: Tensor) -> Tensor:
        """How far a small network tells each of n x D features from m x D clean ones: n."""
        rows = torch.cat([clean, given])
        rows = (rows - rows.mean(0)) / rows.std(0, correction=0).clamp_min(1e-6)
        wanted = torch.cat([torch.zeros(len(clean)), torch.ones(len(given))]).to(rows)
        sizes = (rows.shape[1], self.width, self.width)
        hidden = (nn.Sequential(nn.Linear(i, o), nn.ReLU()) for i, o in pairwise(sizes))
        network = nn.Sequential(*hidden, nn.Linear(self.width, 1)).to(rows.device)
        adam = torch.optim.Adam(network.parameters(), self.search_lr)
        # Autocast would keep the weights' first cast for as long as the step lasts.
        with torch.autocast(rows.device.type, enabled=False):
            for _ in range(self.search_steps):
                adam.zero_grad()
                mse_loss(network(rows)[:, 0], wanted).backward()
                adam.step()
            return network(rows[len(clean) :])[:, 0].detach()
