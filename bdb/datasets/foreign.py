"""Images of one data set in the shape of another."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bdb.datasets.base import DataSpec, ImageSet
from bdb.errors import DataError, short

_BATCH = 1024
Shape = tuple[int, int, int]


def reshape(images: ImageSet, shape: Shape) -> ImageSet:
    """The same set with images of this shape, C x H x W; the ratio of their sides may change."""
    if images.images.shape[1:] == shape:
        return images
    parts = [_reshape(part, shape) for part in images.images.split(_BATCH)]
    return replace(images, images=torch.cat(parts) if parts else images.images.new_empty(0, *shape))


def relabel(images: ImageSet, data: DataSpec, wanted: DataSpec, where: str) -> ImageSet:
    """The images whose classes another set has too, under its labels; classes go by their names.

    Args:
        images: of a data set of which `data` is known.
        data: names its classes.
        wanted: names those of the other set.
        where: what an error is to begin with.

    Raises:
        DataError: a class of the other set is missing.
    """
    missing = [name for name in wanted.classes if name not in data.classes]
    if missing:
        raise DataError(
            f"{where} has no class {short(missing[0])} as {wanted.dataset} has; classes go by "
            f"their names, and its are {short(', '.join(data.classes))}"
        )
    numbers = {name: number for number, name in enumerate(wanted.classes)}
    labels = torch.tensor([numbers.get(name, -1) for name in data.classes])[images.labels]
    return replace(images, labels=labels)[labels >= 0]


def describe(data: DataSpec, shape: Shape) -> DataSpec:
    """What is known of such a set: channels that were made one, or many, share statistics."""
    changes = {
        name: values if len(values) == shape[0] else (round(fmean(values), 4),) * shape[0]
        for name, values in (("mean", data.mean), ("std", data.std))
    }
    return data.model_copy(update={"shape": shape, **changes})


def _reshape(images: Tensor, shape: Shape) -> Tensor:
    """uint8, N x C x H x W -> uint8, N x shape."""
    pixels = images.float()
    if images.shape[1] != shape[0]:
        pixels = pixels.mean(1, keepdim=True).expand(-1, shape[0], -1, -1)
    if pixels.shape[2:] != shape[1:]:
        pixels = interpolate(
            pixels, shape[1:], mode="bilinear", align_corners=False, antialias=True
        )
    return pixels.round().clamp(0, 255).to(torch.uint8)
