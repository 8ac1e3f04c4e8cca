"""Crop and flip as one batched look-up, then cuts, turns, colours and holes, for every sample.

The order is fixed: crop, flip, cut, rotation, brightness, contrast, saturation, hue, grey, cutout.
What is not asked for draws nothing.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from bdb.datasets import transforms
from bdb.method import Frozen

_LONGEST = 4 / 3  # the parts of images that are enlarged: their length by their width


class Augmentation(Frozen):
    """What training does to each image, drawn anew for every sample and epoch."""

    crop_padding: int = Field(0, ge=0, description="pixels of border to crop from")
    crop_border: Literal["black", "reflected"] = "black"
    crop_share: float = Field(1.0, ge=0, le=1, description="share of the images that are cropped")
    flip: bool = Field(False, description="mirror half of the images")
    alternate: bool = Field(
        False, description="mirror each image every other epoch instead of by chance"
    )
    least_area: float = Field(
        1.0, gt=0, le=1, description="smallest part that is cut out and enlarged, as a share"
    )
    rotation: float = Field(0.0, ge=0, le=180, description="most degrees to turn by, either way")
    rotation_share: float = Field(1.0, ge=0, le=1, description="share of images that are turned")
    brightness: float = Field(0.0, ge=0, le=1, description="largest change of the factor 1")
    contrast: float = Field(0.0, ge=0, le=1, description="largest change of the factor 1")
    saturation: float = Field(0.0, ge=0, le=1, description="largest change of the factor 1")
    hue: float = Field(0.0, ge=0, le=0.5, description="most that colours turn, of once around")
    jitter_share: float = Field(
        1.0, ge=0, le=1, description="share of the images whose brightness and colours change"
    )
    grayscale: float = Field(0.0, ge=0, le=1, description="share of the images made grey")
    cutout: int = Field(0, ge=0, description="side in pixels of a black square, anywhere")

    def __call__(
        self,
        images: Tensor,
        generator: torch.Generator,
        ids: Tensor | None = None,
        epoch: int = 0,
    ) -> Tensor:
        """Augment N x C x H x W images of any dtype; the generator draws on its own device.

        Args:
            images: N x C x H x W; floats in [0, 1] where colours change.
            generator: of all draws.
            ids: int64, N, which decide the side that `alternate` begins with.
            epoch: which decides whether it is that side.

        Returns:
            The same shape and dtype; channels last in memory if anything was done.
        """
        moved = self._moved(images, generator, ids, epoch)
        if not self._changes_pixels:
            return moved
        floats = moved.float() / 255 if moved.dtype == torch.uint8 else moved
        changed = self._changed(floats, generator)
        if moved.dtype == torch.uint8:
            changed = changed.mul(255).round()
        return changed.to(moved.dtype, memory_format=torch.channels_last)

    def _moved(
        self, images: Tensor, generator: torch.Generator, ids: Tensor | None, epoch: int
    ) -> Tensor:
        """Crop and flip."""
        if not self.crop_padding and not self.flip:
            return images
        count, _, height, width = images.shape
        rows, columns = (
            torch.arange(side, device=images.device).expand(count, side) for side in (height, width)
        )
        if self.crop_padding:
            top, left = self._offsets(count, generator).to(images.device)
            rows, columns = rows + top, columns + left
            images = _bordered(images, self.crop_padding, self.crop_border)
        if self.flip:
            mirrored = self._mirrored(count, generator, ids, epoch).to(images.device)
            columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        return _look_up(images, rows, columns)

    @property
    def _changes_pixels(self) -> bool:
        """Whether anything is asked for beyond crop and flip."""
        colours = (self.brightness, self.contrast, self.saturation, self.hue, self.grayscale)
        return bool(self.least_area < 1 or self.rotation or self.cutout or any(colours))

    def _changed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Cuts, rotation, colours and cutout, of floats in [0, 1]."""
        count, _, height, width = images.shape
        draws = _Draws(count, generator, images.device)
        if self.least_area < 1:
            images = self._enlarged(images, draws)
        if self.rotation:
            degrees = self.rotation * draws.either_way()
            images = transforms.rotate(images, degrees * draws.chosen(self.rotation_share))
        images = self._jittered(images, draws)
        if self.grayscale:
            images = transforms.grayscale(images, draws.chosen(self.grayscale))
        if self.cutout:
            rows, columns = draws.below(height), draws.below(width)
            images = transforms.cut_out(images, rows, columns, self.cutout)
        return images

    def _jittered(self, images: Tensor, draws: _Draws) -> Tensor:
        """Brightness, contrast, saturation and hue: all of an image's, or none."""
        jitters = (
            (transforms.brighten, 1, self.brightness),
            (transforms.contrast, 1, self.contrast),
            (transforms.saturate, 1, self.saturation),
            (transforms.turn_hue, 0, self.hue),
        )
        if not any(amount for *_, amount in jitters):
            return images
        chosen = draws.chosen(self.jitter_share)
        for change, unchanged, amount in jitters:
            if amount:
                images = change(images, unchanged + amount * draws.either_way() * chosen)
        return images

    def _enlarged(self, images: Tensor, draws: _Draws) -> Tensor:
        """A part of each image, up to a third longer or wider than the image's own shape."""
        area = self.least_area + (1 - self.least_area) * draws.evenly()
        stretch = (_LONGEST ** draws.either_way()).sqrt()
        heights, widths = ((area.sqrt() * by).clamp(max=1) for by in (stretch, 1 / stretch))
        places = draws.evenly(), draws.evenly()
        return transforms.enlarge(images, heights, widths, *places)

    def _offsets(self, count: int, generator: torch.Generator) -> Tensor:
        """Where each sample's crop begins: rows and columns, 2 x N x 1."""
        padding, device = self.crop_padding, generator.device
        size = (2, count, 1)
        offsets = torch.randint(2 * padding + 1, size, generator=generator, device=device)
        if self.crop_share == 1:
            return offsets
        cropped = _Draws(count, generator, device).chosen(self.crop_share)
        return torch.where(cropped[:, None], offsets, padding)

    def _mirrored(
        self, count: int, generator: torch.Generator, ids: Tensor | None, epoch: int
    ) -> Tensor:
        """Which samples are mirrored: bool, N."""
        if self.alternate and ids is not None and len(ids) == count:
            return _side(ids) ^ (epoch % 2 == 1)
        return torch.rand(count, generator=generator, device=generator.device) < 0.5


class _Draws:
    """Numbers for every sample of a batch, drawn on the generator's device."""

    def __init__(self, count: int, generator: torch.Generator, device: torch.device) -> None:
        self.count = count
        self.generator = generator
        self.device = device

    def either_way(self) -> Tensor:
        """Evenly in [-1, 1): float32, N."""
        return 2 * self.evenly() - 1

    def chosen(self, share: float) -> Tensor:
        """Whether a sample is among this share: bool, N."""
        return self.evenly() < share

    def below(self, size: int) -> Tensor:
        """A row or column: int64, N."""
        draws = torch.randint(
            size, (self.count,), generator=self.generator, device=self.generator.device
        )
        return draws.to(self.device)

    def evenly(self) -> Tensor:
        """In [0, 1): float32, N."""
        draws = torch.rand(self.count, generator=self.generator, device=self.generator.device)
        return draws.to(self.device)


def _bordered(images: Tensor, padding: int, border: str) -> Tensor:
    if border == "black":
        return pad(images, (padding,) * 4)
    # Reflection is not there for every dtype; an index is.
    rows, columns = (
        _reflected(side, padding, images.device) for side in (images.shape[2], images.shape[3])
    )
    return images[:, :, rows][:, :, :, columns]


def _reflected(side: int, padding: int, device: torch.device) -> Tensor:
    """Where each row of a bordered image comes from; the outermost row is not repeated."""
    places = torch.arange(-padding, side + padding, device=device)
    period = max(1, 2 * (side - 1))
    places = places % period
    return torch.minimum(places, period - places).clamp(max=side - 1)


def _side(ids: Tensor) -> Tensor:
    """A bit for every id that its neighbours do not share: bool, N."""
    return (ids * 0x9E3779B1 >> 15) % 2 == 1


def _look_up(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixel (i, j) of each image is that of its own row i and column j."""
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    picked = images.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
