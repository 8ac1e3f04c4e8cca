"""CIFAR-100 under its fine labels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from bdb.datasets.base import Dataset, RawData
from bdb.datasets.cifar10 import TECH_REPORT, read_cifar
from bdb.method import Paper
from bdb.registry import register
from bdb.torchvision_ops import load


@register("cifar100")
class Cifar100(Dataset):
    """50,000 + 10,000 photographs of 100 kinds of things, 3x32x32."""

    paper: ClassVar[Paper] = TECH_REPORT
    class_counts: ClassVar[tuple[int, ...]] = (500,) * 100
    test_count: ClassVar[int] = 10_000
    side: ClassVar[int] = 32
    mean: ClassVar[tuple[float, ...]] = (0.5071, 0.4865, 0.4409)
    std: ClassVar[tuple[float, ...]] = (0.2673, 0.2564, 0.2762)

    def read(self, root: Path) -> RawData:
        """Read `cifar-100-python` below `root`, downloading it if it is missing."""
        return read_cifar(load().datasets.CIFAR100, "CIFAR-100", root)
