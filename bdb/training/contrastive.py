"""Contrastive learning: views of one image are to be alike, and so are images of one label.

SimCLR (Chen et al., ICML 2020) is the case in which every image has a label of its own, which
`alone` gives it: then no given label is looked at. With labels shared it is supervised contrast
(Khosla et al., NeurIPS 2020, the loss that they call out).

    network = contrastive.Projected(model, 128, seed)
    step = contrastive.Contrast(contrastive.strong(augmentation), temperature=0.5)
    fit(network, contrastive.alone(data), recipe, step=step)

The model's features are then trained in place; its head is as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.models.classifier import Classifier
from bdb.training import seeds
from bdb.training.batches import Batch, to_float


def strong(of_data: Augmentation, least_area: float = 0.2) -> Augmentation:
    """SimCLR's augmentation, which mirrors only what the data set's own mirrors.

    Parts of at least `least_area` of the image, and colours at the strength for small images, which
    are not blurred there. Of one channel brightness and contrast are all that changes.
    """
    return Augmentation(
        least_area=least_area,
        flip=of_data.flip,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        jitter_share=0.8,
        grayscale=0.2,
    )


def alone(data: ImageSet, chosen: Tensor | None = None) -> ImageSet:
    """The same images, those chosen (bool, N; all by default) under a label of their own each."""
    own = data.ids + data.labels.max() + 1
    return replace(data, labels=own if chosen is None else torch.where(chosen, own, data.labels))


class Projected(nn.Module):
    """A classifier's features behind a head of two layers, on the unit sphere.

    The head is thrown away after the training, for which alone it is there.
    """

    def __init__(self, model: Classifier, dimensions: int, seed: int) -> None:
        super().__init__()
        self.model = model
        width = model.head.in_features
        with seeds.isolated(seed):
            self.projection = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dimensions)
            )
        self.projection.to(model.head.weight.device)

    def calibrate(self, images: Tensor) -> None:
        """The model's."""
        self.model.calibrate(images)

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> float32, N x D, of unit length."""
        return normalize(self.projection(self.model.features(images)).float(), dim=1)


@dataclass(frozen=True)
class Contrast:
    """The step that contrasts two views of every image in a batch.

    Attributes:
        augmentation: of the views, each drawn anew for every sample, instead of the data set's.
        temperature: by which the likeness of two views is divided; the lower, the more the
            nearest of the others counts.
    """

    augmentation: Augmentation
    temperature: float

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, by a model that puts images on the unit sphere."""
        views = [self.augmentation(to_float(batch.pixels), batch.generator) for _ in range(2)]
        return loss(model(torch.cat(views)), batch.labels.repeat(2), self.temperature)


def loss(points: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """How unlike points of one label are, compared to all others: NT-Xent where they are pairs.

    Args:
        points: float32, N x D, of unit length.
        labels: int64, N, none of them at one point alone.
        temperature: by which cosines are divided.
    """
    itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
    alike = (labels[:, None] == labels) & ~itself
    with torch.autocast(points.device.type, enabled=False):
        likeness = (points @ points.T / temperature).masked_fill(itself, -torch.inf)
    surprise = -likeness.log_softmax(1).masked_fill(~alike, 0)
    return (surprise.sum(1) / alike.sum(1)).mean()
