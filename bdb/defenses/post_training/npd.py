"""NPD: a thin layer inside the frozen suspect that lets clean features pass, and no trigger's."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bdb.defenses import polarizers
from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.defenses.unlikelihood import runner_up, unlikelihood
from bdb.method import Paper
from bdb.registry import register
from bdb.training import adversarial, loop
from bdb.training.loop import Batch, Step
from bdb.training.recipes import Recipe


@register("npd")
class NeuralPolarizer(PostTraining):
    """Insert a linear layer, and train it alone to withstand images that are drawn to a class.

    Each clean image is moved towards its likeliest wrong class, as a trigger would move it. The
    layer learns to give it its label all the same. It is part of the model that is given back.

    On digits it removes warps and most of a patch; triggers that cover the image stay, which moves
    of a few steps are not like.

    Differs: the layer follows a whole stage; the published one stands within PreActResNet18's last
    block. BackdoorBench saves the suspect without it, and ends searches that fool 60 % of a batch.
    """

    paper: ClassVar[Paper] = Paper(
        title="Neural Polarizer: A Lightweight and Effective Backdoor Defense via Purifying "
        "Poisoned Features",
        authors="Zhu, Wei, Zha, Wu",
        venue="NeurIPS",
        year=2023,
        url="https://arxiv.org/abs/2306.16697",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})
    requires: ClassVar[frozenset[str]] = frozenset({"maps"})

    behind: int = Field(-2, le=-1, description="stage that the layer follows, -1 is the last")
    warmup_epochs: int = Field(5, ge=1, description="passes over the clean set as it is")
    warmup_lr: float = Field(1e-4, gt=0, description="learning rate of these")
    epochs: int = Field(50, ge=1, description="passes with moved images")
    batch_size: int = Field(128, ge=2, description="samples per step")
    lr: float = Field(0.01, gt=0, description="learning rate, annealed along a cosine")
    steps: int = Field(2, ge=1, description="of the search for moved images")
    stride: float = Field(0.1, gt=0, le=1, description="of its steps, in pixels of [0, 1]")
    radius: float = Field(3.0, gt=0, description="l2 length of a move, in pixels of [0, 1]")
    boosted: float = Field(0.4, ge=0, description="moved images: of label and likeliest error")
    avoided: float = Field(0.4, ge=0, description="moved images: of the class moved to")

    def run(self, view: DefenderView) -> Outcome:
        """Warm up, and train; the last epoch counts."""
        model = polarizers.insert(view.model, self.behind)
        thin = [*model.mix.parameters(), *model.norm.parameters()]
        model.inner.requires_grad_(False)

        def fit(epochs: int, lr: float, what: str, loss: Step) -> None:
            def step(_model: nn.Module, batch: Batch) -> Tensor:
                model.inner.eval()  # Its batch statistics stay.
                return loss(model, batch)

            recipe = Recipe(epochs=epochs, lr=lr, batch_size=self.batch_size, augment=False)
            view.fit(model, view.clean_set, recipe, step=step, parameters=thin, what=what)

        fit(self.warmup_epochs, self.warmup_lr, "warm up", loop.cross_entropy)
        fit(self.epochs, self.lr, "polarize", self.loss)
        model.requires_grad_(True)
        return Outcome(model=model)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of the images, and of the same moved."""
        labels, (targets, moved) = batch.labels, self.move(model, batch)
        clean, drawn = model(torch.cat([batch.images, moved])).chunk(2)
        boosted = (
            cross_entropy(drawn, labels) + unlikelihood(drawn, runner_up(drawn, labels)).mean()
        )
        avoided = unlikelihood(drawn, targets).mean()
        return cross_entropy(clean, labels) + self.boosted * boosted + self.avoided * avoided

    def move(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """For each image a class, and the image moved towards it."""
        images = batch.images
        with adversarial.at_rest(model):
            targets = runner_up(model(images), batch.labels)

        def objective(moved: Tensor) -> Tensor:
            return -cross_entropy(model(moved), targets, reduction="sum")

        def project(moved: Tensor) -> Tensor:
            return images + torch.renorm(moved - images, 2, 0, self.radius)

        how = (images, self.steps, self.stride, project)
        return targets, adversarial.climb(model, objective, *how)
