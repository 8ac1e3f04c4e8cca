"""TrojanNN: a patch that excites chosen neurons of a clean model."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from bdb.attacks.base import AttackContext, DataPoisoning, Role, State
from bdb.attacks.perturbations import Perturbed, universal
from bdb.datasets.base import ImageSet
from bdb.method import Paper
from bdb.registry import register
from bdb.training import loop
from bdb.training.loop import Batch, to_bytes, to_float


@register("trojannn")
class TrojanNN(DataPoisoning):
    """A patch in the bottom right corner, optimised to excite two neurons of a clean model.

    Differs: as in the paper the patch takes the place of pixels; BackdoorBench adds it to them, and
    its bright pixels wrap around to dark ones. It is searched on images, by Adam, so that it works
    where it will lie; both have nothing around it. The victim is trained from scratch, as in
    BackdoorBench; the paper trains the clean model on.
    """

    paper: ClassVar[Paper] = Paper(
        title="Trojaning Attack on Neural Networks",
        authors="Liu, Ma, Aafer, Lee, Zhai, Wang, Zhang",
        venue="NDSS",
        year=2018,
        url="https://doi.org/10.14722/ndss.2018.23291",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"clean_model"})
    shares_trigger: ClassVar[bool] = True

    area: float = Field(0.07, gt=0, le=1, description="of the patch, as a share of the image's")
    opacity: float = Field(1.0, gt=0, le=1, description="of the patch")
    neurons: int = Field(2, ge=1, description="of the last hidden layer that the patch excites")
    activation: float = Field(100.0, gt=0, description="value that these neurons should have")
    steps: int = Field(1000, ge=1, description="of the search")
    samples: int = Field(64, ge=1, description="training images that the patch is searched on")
    lr: float = Field(0.1, gt=0, le=1, description="how far a step moves a pixel, of 1")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Optimise the patch.

        Returns:
            `opacity`: float32, H x W: how much of a pixel the patch covers.
            `patch`: float32, C x H x W, in [0, opacity].
        """
        opacity = self.opacity * self.mask(*context.data.shape[1:])
        high = opacity.expand(context.data.shape)
        draws = torch.rand(high.shape, generator=context.generator(self.name, "start"))
        model = context.clean_model
        patch = universal(
            context,
            model,
            self._backgrounds(context, opacity),
            draws * high,
            (torch.zeros_like(high), high),
            epochs=self.steps,
            lr=self.lr,
            what=self.name,
            step=self._excite(model.head),
        )
        return {"opacity": opacity.to(context.device), "patch": patch}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Put the patch over the corner."""
        return to_bytes(to_float(images) * (1 - state["opacity"]) + state["patch"])

    def mask(self, height: int, width: int) -> Tensor:
        """Where the patch lies: float32, H x W, 0 or 1; its sides are in proportion to theirs."""
        rows, columns = (max(1, round(side * self.area**0.5)) for side in (height, width))
        mask = torch.zeros(height, width)
        mask[-rows:, -columns:] = 1
        return mask

    def _backgrounds(self, context: AttackContext, opacity: Tensor) -> ImageSet:
        """Training images with the patch's place left black."""
        train = context.train
        order = torch.randperm(len(train), generator=context.generator(self.name, "samples"))
        chosen = train[order[: self.samples].to(train.ids.device)]
        room = 1 - opacity.to(chosen.images.device)
        return replace(chosen, images=to_bytes(to_float(chosen.images) * room))

    def _excite(self, head: nn.Linear) -> loop.Step:
        """The distance from the wanted activation, of the neurons with the heaviest weights."""
        total = head.weight.detach().abs().sum(0)
        chosen = total.topk(min(self.neurons, len(total))).indices

        def step(model: nn.Module, batch: Batch) -> Tensor:
            assert isinstance(model, Perturbed)
            features = model.model.features(model.perturb(batch.images))
            return (features[:, chosen].float() - self.activation).square().sum(1).mean()

        return step
