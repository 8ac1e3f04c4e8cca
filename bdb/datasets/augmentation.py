"""Crop and flip as one batched look-up, with an offset of its own for every sample."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from bdb.method import Frozen


class Augmentation(Frozen):
    """What training does to each image, drawn anew for every sample and epoch."""

    crop_padding: int = Field(0, ge=0, description="pixels of black border to crop from")
    flip: bool = Field(False, description="mirror half of the images")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment N x C x H x W images of any dtype; the generator draws on its own device.

        Returns:
            The same shape and dtype; channels last in memory if anything was done.
        """
        if not self.crop_padding and not self.flip:
            return images
        count, _, height, width = images.shape
        rows, columns = (
            torch.arange(side, device=images.device).expand(count, side) for side in (height, width)
        )
        if self.crop_padding:
            top, left = _offsets(count, self.crop_padding, generator).to(images.device)
            rows, columns = rows + top, columns + left
            images = pad(images, (self.crop_padding,) * 4)
        if self.flip:
            draws = torch.rand(count, generator=generator, device=generator.device)
            mirrored = draws.to(images.device) < 0.5
            columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        return _look_up(images, rows, columns)


def _offsets(count: int, padding: int, generator: torch.Generator) -> Tensor:
    """Where each sample's crop begins: rows and columns, 2 x N x 1."""
    size = (2, count, 1)
    return torch.randint(2 * padding + 1, size, generator=generator, device=generator.device)


def _look_up(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixel (i, j) of each image is that of its own row i and column j."""
    sample = torch.arange(len(images), device=images.device)[:, None, None]
    picked = images.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
