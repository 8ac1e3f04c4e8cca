"""Handwritten digits, which scikit-learn carries: the embedded default, no download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import interpolate

from bdb.datasets.base import Dataset, ImageSet, RawData
from bdb.method import Paper
from bdb.registry import register

_TEST_SHARE = 5  # every fifth image of a class


@register("digits")
class Digits(Dataset):
    """1,797 real handwritten digits, 8x8, upsampled to 3x32x32."""

    paper: ClassVar[Paper] = Paper(
        title="Optical Recognition of Handwritten Digits",
        authors="Alpaydin, Kaynak",
        venue="UCI Machine Learning Repository",
        year=1998,
        url="https://doi.org/10.24432/C50P49",
    )
    class_counts: ClassVar[tuple[int, ...]] = (142, 145, 141, 146, 144, 145, 144, 143, 139, 144)
    test_count: ClassVar[int] = 364
    side: ClassVar[int] = 32
    clean_fraction: ClassVar[float] = 0.2
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fast": {"epochs": 20, "batch_size": 64, "lr": 0.05},
        "paper": {"batch_size": 64},
    }

    crop_padding: int = Field(0, ge=0, le=64, description="border in pixels of the random crop")

    def read(self, root: Path) -> RawData:
        """Take the images out of scikit-learn; `root` is not used."""
        from sklearn.datasets import load_digits

        raw = load_digits()
        gray = torch.from_numpy(raw.images / 16.0).float()[:, None]
        smooth = interpolate(gray, size=(32, 32), mode="bilinear", align_corners=False)
        images = (smooth * 255).round().to(torch.uint8).repeat(1, 3, 1, 1)
        labels = torch.from_numpy(raw.target).long()
        test = torch.from_numpy(_every_fifth(raw.target))
        return RawData(
            ImageSet.whole(images[~test], labels[~test]),
            ImageSet.whole(images[test], labels[test]),
            tuple(str(digit) for digit in range(10)),
        )


def _every_fifth(labels: np.ndarray) -> np.ndarray:
    """A fixed test split: every fifth image of each class, in the order of the file."""
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        test[np.flatnonzero(labels == label)[::_TEST_SHARE]] = True
    return test
