"""I-BAU: unlearn the one perturbation that harms most, and foresee how it would answer."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.functional import cross_entropy

from bdb.defenses.base import DefenderView, Outcome, PostTraining
from bdb.method import Paper
from bdb.models import base as models
from bdb.registry import register
from bdb.training.loop import Batch
from bdb.training.recipes import Recipe


@register("i_bau")
class ImplicitBackdoorUnlearning(PostTraining):
    """Train against a universal perturbation, by the gradient of the minimax problem.

    Every round searches the perturbation that harms most, and goes over the clean set once. The
    gradient of a step has two parts: that of the loss under the perturbation, and what the loss
    gains as the perturbation follows the weights (by the implicit function theorem).

    As in BackdoorBench few images are perturbed, at a price; in the paper all, within a length.

    Differs: BackdoorBench searches against the classes that the model gives, not the labels, and
    has the perturbation follow as the first batch wants it, not the batch at hand.
    """

    paper: ClassVar[Paper] = Paper(
        title="Adversarial Unlearning of Backdoors via Implicit Hypergradient",
        authors="Zeng, Chen, Park, Mao, Jin, Jia",
        venue="ICLR",
        year=2022,
        url="https://arxiv.org/abs/2110.03735",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_set"})

    rounds: int = Field(5, ge=1, description="searches, each with a pass over the clean set")
    batch_size: int = Field(256, ge=2, description="samples per step")
    lr: float = Field(1e-4, gt=0, description="learning rate of the weights, constant")
    share: float = Field(0.01, gt=0, le=1, description="of a batch that is perturbed, or one image")
    search_epochs: int = Field(1, ge=1, description="passes over the clean set of a search")
    search_lr: float = Field(10.0, gt=0, description="learning rate of a search")
    price: float = Field(1e-3, ge=0, description="of squared length, in standard deviations")
    iterations: int = Field(5, ge=1, description="towards the fixed point")
    iteration_lr: float = Field(0.1, gt=0, description="step of the map that is iterated")

    def run(self, view: DefenderView) -> Outcome:
        """Unlearn; the last round counts. Batch statistics stay as they are."""
        unit = torch.tensor(view.data.std, device=view.device)[:, None, None]

        @cache
        def worst(epoch: int) -> Tensor:
            return self.search(view, unit, epoch)

        def step(model: nn.Module, batch: Batch) -> Tensor:
            return self.loss(Perturbed(model, unit, worst(batch.epoch)), batch)

        recipe = self.recipe(self.rounds, lr=self.lr, optimizer="adam", amsgrad=True)
        view.fit(view.model, view.clean_set, recipe, step=step, train_mode=False)
        return Outcome(model=view.model)

    def recipe(self, epochs: int, **how: Any) -> Recipe:
        """What the weights and the perturbation have in common."""
        how |= {"batch_size": self.batch_size, "weight_decay": 0, "schedule": "constant"}
        return Recipe(epochs=epochs, **how)

    def search(self, view: DefenderView, unit: Tensor, epoch: int) -> Tensor:
        """The perturbation that now harms most: float32, C x H x W, in units."""
        frozen = models.duplicate(view.model).requires_grad_(False)
        perturbed = Perturbed(frozen, unit, torch.zeros(view.data.shape, device=view.device))
        recipe = self.recipe(self.search_epochs, lr=self.search_lr, momentum=0)
        how: dict[str, Any] = {"what": f"search {epoch}", "parameters": [perturbed.delta]}
        how["step"] = lambda _, batch: -self.harm(perturbed, batch)
        view.fit(perturbed, view.clean_set, recipe, train_mode=False, **how)
        return perturbed.delta.detach()

    def harm(self, perturbed: Perturbed, batch: Batch) -> Tensor:
        """What a search raises: the loss, less what the perturbation pays."""
        loss = cross_entropy(perturbed(batch.images), batch.labels)
        return loss - self.price * perturbed.delta.square().sum()

    def loss(self, perturbed: Perturbed, batch: Batch) -> Tensor:
        """The loss of a batch of which part is perturbed, with both parts of its gradient.

        A search finds a fixed point of the map `moved`. So the second part is `pull` times the
        map's slope in the weights, where `pull` is the fixed point that the loop goes towards.
        """
        delta, count = perturbed.delta, max(1, round(self.share * len(batch)))
        loss = cross_entropy(perturbed(batch.images, count), batch.labels)
        (slope,) = grad(self.harm(perturbed, batch), delta, create_graph=True)
        moved = delta + self.iteration_lr * slope
        (direct,) = grad(loss, delta, retain_graph=True)
        pull = direct  # one iteration from 0
        for _ in range(self.iterations - 1):
            pull = direct + grad(moved, delta, pull, retain_graph=True)[0]
        implicit = (pull * moved).sum()
        return loss + implicit - implicit.detach()


class Perturbed(nn.Module):
    """A classifier, and one perturbation of what it is shown, in the given unit of each channel."""

    def __init__(self, model: nn.Module, unit: Tensor, delta: Tensor) -> None:
        super().__init__()
        self.model, self.unit, self.delta = model, unit, nn.Parameter(delta.clone())

    def forward(self, images: Tensor, count: int | None = None) -> Tensor:
        """Floats, N x C x H x W -> logits, N x K, with the first `count` perturbed, or all."""
        first, rest = images.tensor_split([len(images) if count is None else count])
        logits: Tensor = self.model(torch.cat([first + self.unit * self.delta, rest]))
        return logits
