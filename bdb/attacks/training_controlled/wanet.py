"""WaNet: a smooth warp of the whole image, which the attacker's own training teaches."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, interpolate

from bdb.attacks.base import AttackContext, Controller, CrossTrained, Role, State
from bdb.attacks.extent import Extent
from bdb.datasets.augmentation import Augmentation
from bdb.method import Paper, Trace
from bdb.registry import register
from bdb.training import seeds
from bdb.training.loop import Batch, to_bytes, to_float
from bdb.training.recipes import Recipe

# After the trigger, for these shares of the images; the data set says whether they are mirrored.
_PUBLISHED = {"crop_padding": 5, "crop_share": 0.8, "rotation": 10.0, "rotation_share": 0.5}


@register("wanet")
class WaNet(CrossTrained):
    """One smooth warp for all images, and noisy warps under true labels so that only it counts.

    Differs: the published augmentation is a choice, and drawn for every image, not once a batch.
    """

    paper: ClassVar[Paper] = Paper(
        title="WaNet - Imperceptible Warping-based Backdoor Attack",
        authors="Nguyen, Tran",
        venue="ICLR",
        year=2021,
        url="https://arxiv.org/abs/2102.10369",
    )
    changes_training: ClassVar[bool] = True
    training_field: ClassVar[str] = "published_augmentation"
    extent: ClassVar[Extent] = {"side": {"control_points": 1}}
    evades: ClassVar[frozenset[Trace]] = frozenset({"inputs"})

    strength: float = Field(0.5, gt=0, le=16, description="mean displacement, in half pixels")
    control_points: int = Field(4, ge=2, le=64, description="side of the grid that is smoothed")
    noise: float = Field(1.0, ge=0, le=16, description="of noisy warps, in half pixels at most")
    cross_ratio: float = Field(2.0, ge=0, le=100, description="noisy warps per poison")
    published_augmentation: bool = Field(
        False, description="crop with a border of 5 and turn by up to 10 degrees, as published"
    )

    def augmentation(self, default: Augmentation) -> Augmentation:
        """The data set's, or the published one with the data set's flips."""
        return default.model_copy(update=_PUBLISHED) if self.published_augmentation else default

    def recipe(self, default: Recipe) -> Recipe:
        """The victim's; one that has a crop of its own gives way to the published one."""
        crop = {"crop_padding": None, "crop_border": "black"}
        return default.model_copy(update=crop) if self.published_augmentation else default

    def prepare_trigger(self, context: AttackContext) -> State:
        """Draw the displacements at the control points, and smooth them over the image.

        Returns:
            `grid`: float32, H x W x 2: where each pixel comes from, in [-1, 1].
            `seed`: int64, of the noise of the published cover samples.
        """
        size = context.data.shape[1:]
        points = torch.rand(
            1, 2, *(self.control_points,) * 2, generator=context.generator(self.name, "points")
        )
        points = points * 2 - 1
        points /= points.abs().mean()
        flow = interpolate(points, size, mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
        grid = _identity(size)
        grid += self.strength * flow * _half_pixel(grid)
        seed = seeds.derive(context.seed, "attack", self.name, "noise")
        return {"grid": grid.clamp(-1, 1), "seed": torch.tensor(seed)}

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Warp; cover samples with noise of their own."""
        grid = state["grid"].expand(len(images), -1, -1, -1)
        if role == "cover":
            draws = seeds.uniform_by_id(ids, grid[0].numel(), int(state["seed"]))
            grid = self.disturb(grid, draws.view(grid.shape))
        return to_bytes(warp(to_float(images), grid))

    def disturb(self, grid: Tensor, draws: Tensor) -> Tensor:
        """Add noise to grids, (N x) H x W x 2, from draws in [0, 1), N x H x W x 2."""
        return (grid + self.noise * (2 * draws - 1) * _half_pixel(grid)).clamp(-1, 1)

    def begin(self, context: AttackContext) -> Controller:
        """Warp the planned samples of every batch."""
        return _Warping(self, context)


class _Warping(Controller):
    """Cross-entropy of warped, then augmented batches."""

    def __init__(self, attack: WaNet, context: AttackContext) -> None:
        super().__init__(context)
        self.attack = attack
        self.trigger = attack.prepare_trigger(context)
        self.grid = self.trigger["grid"].to(context.device)

    def step(self, model: nn.Module, batch: Batch) -> Tensor:
        """The noise is drawn anew for every batch, as published."""
        images = batch.raw.clone()
        poisoned, crossed = self.poisoned(batch), self.crossed(batch)
        images[poisoned] = warp(images[poisoned], self.grid)
        noisy = images[crossed]
        draws = batch.rand(len(noisy), *self.grid.shape)
        images[crossed] = warp(noisy, self.attack.disturb(self.grid, draws))
        logits = model(batch.augment(images))
        return cross_entropy(logits, batch.labels, label_smoothing=batch.label_smoothing)

    def state(self) -> State:
        """The grid; it is not learned."""
        return self.trigger


def warp(images: Tensor, grid: Tensor) -> Tensor:
    """Resample floats, N x C x H x W, at a grid, H x W x 2 or one for each."""
    with torch.autocast(images.device.type, enabled=False):
        grids = grid.expand(len(images), *grid.shape[-3:])
        return grid_sample(images, grids, align_corners=True)


def _identity(size: tuple[int, int]) -> Tensor:
    """The grid that changes nothing, H x W x 2."""
    return affine_grid(torch.eye(2, 3)[None], [1, 1, *size], align_corners=True)[0]


def _half_pixel(grid: Tensor) -> Tensor:
    """Half the width and half the height of a pixel, where an image reaches from -1 to 1: 2."""
    height, width = grid.shape[-3:-1]
    return torch.tensor([1 / width, 1 / height]).to(grid.device)
