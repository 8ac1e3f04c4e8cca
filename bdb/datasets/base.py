"""A set of images, what is known of it, and the class that every data set derives from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.datasets.augmentation import Augmentation
from bdb.method import Frozen, Method


@dataclass(frozen=True)
class ImageSet:
    """Images with labels, and the index of each in the prepared split.

    Attributes:
        images: uint8, N x C x H x W.
        labels: int64, N.
        ids: int64, N, ascending.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor

    @classmethod
    def whole(cls, images: Tensor, labels: Tensor) -> ImageSet:
        """A split as prepared: ids count from 0."""
        return cls(images, labels, torch.arange(len(labels), device=labels.device))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> ImageSet:
        """The samples at these positions (int64) or under this mask (bool)."""
        return ImageSet(self.images[index], self.labels[index], self.ids[index])

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on another device."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.ids.to(device))

    def of(self, ids: Tensor) -> ImageSet:
        """The samples with these ids, which must be in the set."""
        return self[self._positions(ids)]

    def renumbered(self) -> ImageSet:
        """The same samples in the same order; ids count from 0 within this set."""
        return replace(self, ids=self.ids.argsort().argsort())

    def replaced(self, ids: Tensor, labels: Tensor, images: Tensor | None = None) -> ImageSet:
        """The same set, but for these ids with other labels, and with other images if given."""
        where = self._positions(ids)
        own_labels = self.labels.clone()
        own_labels[where] = labels.to(own_labels.device)
        if images is None:
            return replace(self, labels=own_labels)
        own_images = self.images.clone()
        own_images[where] = images.to(own_images.device)
        return replace(self, labels=own_labels, images=own_images)

    def _positions(self, ids: Tensor) -> Tensor:
        return torch.searchsorted(self.ids, ids.to(self.ids.device))


class DataSpec(Frozen):
    """What a model must know of its data, and how its training augments them."""

    dataset: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = Augmentation()

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def as_many(self, small: int) -> int:
        """How many images take as much memory as so many of 32 x 32 pixels."""
        _, height, width = self.shape
        return small * 32**2 // (height * width)


@dataclass(frozen=True)
class RawData:
    """What a reader returns: two splits and the names of the classes."""

    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]


class Dataset(Method):
    """A data set: `read` gives its splits; class variables say how it is trained on.

    `class_counts` are the training images per class where they are known beforehand (`prepare`
    refuses others), `train_count` and `test_count` the images of a split; `side` is that of the
    images, where all are square and of one size (a field `size` where the user chooses it); `mean`
    and `std` are per channel in [0, 1], and measured where not declared; `recipes` overrides fields
    of the named training recipes; `raw_field` is the field that names the folder of raw files,
    where these are the user's own and may change.
    """

    kind: ClassVar[str] = "dataset"
    class_counts: ClassVar[tuple[int, ...] | None] = None
    train_count: ClassVar[int | None] = None
    test_count: ClassVar[int | None] = None
    side: ClassVar[int | None] = None
    clean_fraction: ClassVar[float] = 0.05
    raw_field: ClassVar[str | None] = None
    mean: ClassVar[tuple[float, ...] | None] = None
    std: ClassVar[tuple[float, ...] | None] = None
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    train_share: float = Field(
        1.0, gt=0, le=1, description="share of the training images that is used, class by class"
    )
    crop_padding: int = Field(4, ge=0, le=64, description="border in pixels of the random crop")
    flip: bool = Field(False, description="whether training mirrors images")

    def read(self, root: Path) -> RawData:
        """Read the raw files below `root`.

        Raises:
            DataError: they are missing or damaged; the message says what to do.
        """
        raise NotImplementedError

    @property
    def augmentation(self) -> Augmentation:
        """How training augments this set."""
        return Augmentation(crop_padding=self.crop_padding, flip=self.flip)
