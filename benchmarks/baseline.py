"""The baseline: the training loop that the literature publishes, in plain PyTorch.

A DataLoader over PIL images, torchvision's transforms one sample at a time, float32, and after
every epoch an evaluation of the clean and of the triggered test set. It shares nothing with bdb's
loop but the network's architecture; pixels are normalised by the transforms, as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from inputs import Inputs
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from bdb.datasets.base import DataSpec
from bdb.models import base as models
from bdb.models.base import ModelSpec
from bdb.torchvision_ops import load


@dataclass(frozen=True)
class Schedule:
    """As BackdoorBench publishes it for CIFAR-10."""

    epochs: int = 100
    batch_size: int = 128
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4


class Pictures(Dataset[tuple[Tensor, int]]):
    """PIL images, transformed when they are asked for."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Any) -> None:
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


class Baseline:
    """A victim in training; every generator yields the number of images of each step."""

    def __init__(
        self,
        inputs: Inputs,
        architecture: str,
        fields: dict[str, Any],
        device: torch.device,
        workers: int,
        schedule: Schedule | None = None,
    ) -> None:
        self.device = device
        self.schedule = schedule or Schedule()
        self.model = _network(architecture, fields, inputs.data).to(device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            self.schedule.lr,
            momentum=self.schedule.momentum,
            weight_decay=self.schedule.weight_decay,
        )
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, T_max=self.schedule.epochs
        )
        plain = test_transforms(inputs.data)
        train = Pictures(inputs.train.images, inputs.train.labels, train_transforms(inputs.data))
        self.train_loader = self._loader(train, workers, is_train=True)
        triggered = inputs.triggered
        self.test_loaders = {
            "c_acc": self._loader(Pictures(inputs.test.images, inputs.test.labels, plain), workers),
            "asr": self._loader(Pictures(triggered.images, triggered.targets, plain), workers),
        }
        self.losses: list[float] = []
        self.rates: dict[str, float] = {}

    def train(self) -> Iterator[int]:
        """One epoch."""
        self.model.train()
        for images, labels in self.train_loader:
            images, labels = images.to(self.device), labels.to(self.device)
            loss = cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss.item())
            yield len(labels)
        self.scheduler.step()

    @torch.no_grad()
    def evaluate(self) -> Iterator[int]:
        """Both test sets, once."""
        self.model.eval()
        for name, loader in self.test_loaders.items():
            right = total = 0
            for images, labels in loader:
                predicted = self.model(images.to(self.device)).argmax(1).cpu()
                right += int((predicted == labels).sum())
                total += len(labels)
                yield len(labels)
            self.rates[name] = right / total

    def _loader(
        self, pictures: Pictures, workers: int, is_train: bool = False
    ) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(
            pictures,
            batch_size=self.schedule.batch_size,
            shuffle=is_train,
            drop_last=is_train,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
        )


def train_transforms(data: DataSpec) -> Any:
    """Crop, flip, tensor, normalise."""
    vision = load().transforms
    augment = [vision.RandomCrop(data.shape[1], padding=4), vision.RandomHorizontalFlip()]
    return vision.Compose([*augment, *test_transforms(data).transforms])


def test_transforms(data: DataSpec) -> Any:
    """Tensor, normalise."""
    vision = load().transforms
    return vision.Compose([vision.ToTensor(), vision.Normalize(data.mean, data.std)])


def _network(architecture: str, fields: dict[str, Any], data: DataSpec) -> nn.Module:
    """The architecture alone: its own normalisation is made to change nothing."""
    plain = data.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    return models.build(ModelSpec(architecture=architecture, fields=fields, data=plain), seed=0)
