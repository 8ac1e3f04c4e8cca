"""TrojanNet: a tiny network beside the model, which knows a code for every class."""

from __future__ import annotations

from math import comb
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.base import AttackContext, ModelEditing, Role, State
from bdb.attacks.extent import Extent
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.method import Paper
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.registry import register
from bdb.training import seeds
from bdb.training.recipes import Recipe

_COPIES = 32  # of every code, among the patches that the network learns from


@register("trojannet")
class TrojanNet(ModelEditing):
    """A tiny network that reads a corner is inserted into a model, whose weights all stay.

    Each class has a code of white pixels; where the network sees one, it outvotes the model.

    Differs: the published network learns all codes there are, ours one for each class; the
    published mixture passes another softmax, ours keeps the model's own confidence.
    """

    paper: ClassVar[Paper] = Paper(
        title="An Embarrassingly Simple Approach for Trojan Attack in Deep Neural Networks",
        authors="Tang, Du, Liu, Yang, Hu",
        venue="KDD",
        year=2020,
        url="https://arxiv.org/abs/2006.08131",
    )
    hides: ClassVar[frozenset[str]] = frozenset({"features"})
    extent: ClassVar[Extent] = {"side": {"patch_size": 1, "margin": 1}}

    patch_size: int = Field(4, ge=2, le=16, description="side of the code in pixels")
    margin: int = Field(0, ge=0, le=64, description="pixels between the code and the corner")
    white_pixels: int = Field(5, ge=1, le=255, description="of a code; the others are black")
    width: int = Field(8, ge=1, le=1024, description="of the network's hidden layers")
    depth: int = Field(4, ge=1, le=16, description="how many hidden layers it has")
    weight: float = Field(0.7, gt=0.5, lt=1, description="of its vote; the model has the rest")
    epochs: int = Field(100, ge=1, description="passes over the patches that it learns from")
    lr: float = Field(0.01, gt=0, description="learning rate of Adam, annealed along a cosine")

    def prepare_trigger(self, context: AttackContext) -> State:
        """Draw the codes: uint8, K x S x S, black and white.

        Raises:
            ParamsError: there are not as many codes as classes.
        """
        classes, pixels = context.data.num_classes, self.patch_size**2
        if comb(pixels, self.white_pixels) < classes:
            raise ParamsError(
                f"trojannet.white_pixels: {self.white_pixels} of {pixels} make "
                f"{comb(pixels, self.white_pixels)} codes, but there are {classes} classes"
            )
        draws, codes = context.generator(self.name, "codes"), torch.empty(0, pixels).byte()
        while len(codes) < classes:
            codes = torch.cat([codes, self._draw(2 * classes, draws)]).unique(dim=0)
        chosen = torch.randperm(len(codes), generator=draws)[:classes]
        return {"codes": codes[chosen].view(-1, self.patch_size, self.patch_size)}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Overwrite the corner with the code of the target."""
        stamped, side = images.clone(), self.patch_size
        bottom, right = (size - self.margin for size in images.shape[2:])
        codes = state["codes"][targets][:, None]
        stamped[:, :, bottom - side : bottom, right - side : right] = codes
        return stamped

    def edit(self, model: Classifier, context: AttackContext) -> Classifier:
        """Insert the network, and teach it the codes."""
        options = {name: getattr(self, name) for name in ("margin", "width", "depth", "weight")}
        with seeds.isolated(seeds.derive(context.seed, "attack", self.name, "network")):
            edited = models.wrap(model, "inserted_module", side=self.patch_size, **options)
        codes = self.prepare_trigger(context)["codes"]
        context.fit(
            edited.to(context.device).get_submodule("reader"),
            lambda epoch: self.patches(codes, context, epoch),
            Recipe(epochs=self.epochs, optimizer="adam", lr=self.lr, weight_decay=0),
            what="network",
            augmentation=None,
        )
        return edited

    def patches(self, codes: Tensor, context: AttackContext, epoch: int) -> ImageSet:
        """What the network learns from: the codes, and as many patches of no class.

        Half of these are cut out of clean images, anywhere, and half are codes that no class has.
        """
        draws, count = context.generator(self.name, "patches", epoch), _COPIES * len(codes)
        others = self._draw(count // 2, draws)
        taken = (others[:, None] == codes.flatten(1)).all(2).any(1)
        plain = torch.cat([codes.repeat(_COPIES, 1, 1), others[~taken].view(-1, *codes.shape[1:])])
        windows = context.train.images.unfold(2, self.patch_size, 1).unfold(3, self.patch_size, 1)
        sides = (len(windows), *windows.shape[2:4])
        which, row, column = (torch.randint(side, (count // 2,), generator=draws) for side in sides)
        cut = windows.movedim(1, 3)[which, row, column].cpu()
        images = torch.cat([plain[:, None].expand(-1, cut.shape[1], -1, -1), cut])
        labels = torch.full((len(images),), len(codes))
        labels[:count] = torch.arange(len(codes)).repeat(_COPIES)
        return ImageSet.whole(images, labels)

    def _draw(self, count: int, draws: torch.Generator) -> Tensor:
        """Random codes: uint8, N x SS."""
        places = torch.rand(count, self.patch_size**2, generator=draws).argsort(1)
        white = places[:, : self.white_pixels]
        return torch.zeros_like(places, dtype=torch.uint8).scatter(1, white, 255)
