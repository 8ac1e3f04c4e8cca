"""The data from which both training loops start: CIFAR-10, or random images of its shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import common  # noqa: F401  (finds bdb)
import torch

from bdb import registry
from bdb.attacks import victims
from bdb.attacks.base import Attack, AttackContext
from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import DataSpec, ImageSet, RawData
from bdb.datasets.cifar10 import Cifar10
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.training.recipes import RECIPES

CLASSES = 10
SHAPE = (3, 32, 32)
ATTACK, RATIO = "badnets", 0.1
TRAIN, TEST = 50_000, 10_000


@dataclass(frozen=True)
class Inputs:
    """A poisoned training set and both test sets, on the CPU.

    Attributes:
        source: what the images are.
    """

    train: ImageSet
    test: ImageSet
    triggered: Triggered
    data: DataSpec
    source: str

    @property
    def what(self) -> str:
        """The victim's data in a few words."""
        return f"{self.source}, {len(self.train):,} training images, {ATTACK} at {RATIO:g}"


def is_there(root: Path) -> bool:
    """Whether CIFAR-10 lies below `root`; the benchmarks download nothing."""
    return (root / "cifar-10-batches-py").is_dir()


def load(root: Path | None, train: int = TRAIN, test: int = TEST) -> tuple[RawData, str]:
    """The first images of both splits, and what they are: random ones without CIFAR-10."""
    if root and is_there(root):
        raw, source = Cifar10().read(root), "CIFAR-10"
    else:
        raw, source = _random(train, test), "random images"
    return RawData(_first(raw.train, train), _first(raw.test, test), raw.classes), source


def poisoned(root: Path | None, train: int = TRAIN, test: int = TEST, seed: int = 0) -> Inputs:
    """What a victim of BadNets at 10 % is trained on and tested with."""
    raw, source = load(root, train, test)
    attack = cast(Attack, registry.get("attack", ATTACK).make())
    context = make_context(raw, torch.device("cpu"), seed)
    context = victims.planned(attack, RATIO, context)
    poison = victims.make_poison(attack, RATIO, context, raw.test)
    return Inputs(poison.apply(raw.train), raw.test, poison.test, context.data, source)


def make_context(raw: RawData, device: torch.device, seed: int = 0) -> AttackContext:
    """What an attacker has; models are small, and the clean one has learned nothing."""
    data = describe(raw.classes)
    spec = ModelSpec(architecture="convnet", data=data)
    return AttackContext(
        data=data,
        train=raw.train.to(device),
        recipe=RECIPES["fast"],
        seed=seed,
        device=device,
        spec=spec,
        load_clean_model=lambda: models.build(spec, seed=0).eval().to(device),
    )


def describe(classes: tuple[str, ...]) -> DataSpec:
    """CIFAR-10's statistics and augmentation."""
    dataset = Cifar10()
    return DataSpec(
        dataset="cifar10",
        classes=classes,
        shape=SHAPE,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=dataset.augmentation,
    )


def _random(train: int, test: int) -> RawData:
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> ImageSet:
        images = torch.randint(256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
        return ImageSet.whole(images, torch.arange(count) % CLASSES)

    return RawData(draw(train), draw(test), tuple(f"class {i}" for i in range(CLASSES)))


def _first(images: ImageSet, count: int) -> ImageSet:
    return images[torch.arange(min(count, len(images)))]
