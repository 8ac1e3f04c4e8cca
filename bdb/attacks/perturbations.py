"""One perturbation of all images, which draws a frozen model to where an attacker wants it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bdb.attacks.base import AttackContext
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.base import ImageSet
from bdb.models import base as models
from bdb.models.base import Classifier
from bdb.training import loop
from bdb.training.recipes import Recipe

_BATCH = 128


class Perturbed(nn.Module):
    """A frozen copy of a model, in evaluation mode, with one perturbation of all its images."""

    def __init__(self, model: Classifier, start: Tensor) -> None:
        super().__init__()
        self.model = models.duplicate(model).eval().requires_grad_(False)
        self.perturbation = nn.Parameter(start.clone())

    def perturb(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W, to what the model is shown instead."""
        return (images + self.perturbation).clamp(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Floats in [0, 1], N x C x H x W -> the model's logits, N x K."""
        logits: Tensor = self.model(self.perturb(images))
        return logits


def universal(
    context: AttackContext,
    model: Classifier,
    images: ImageSet,
    start: Tensor,
    box: tuple[Tensor, Tensor],
    *,
    epochs: int,
    lr: float,
    what: str,
    step: loop.Step = loop.cross_entropy,
) -> Tensor:
    """Search a perturbation that makes a loss small on many images: Adam, projected to a box.

    Args:
        context: of the attack.
        model: stays as it is.
        images: with the labels that the model should give them; not augmented.
        start: where the search begins: float32, C x H x W, in pixels of [0, 1].
        box: the least and the largest change of every pixel, in the same shape and units.
        epochs: passes over the images.
        lr: how far a step moves a pixel, about.
        what: names the purpose.
        step: the loss of a `Perturbed` model; by default the cross-entropy of the labels.

    Returns:
        float32, C x H x W, inside the box, on the context's device.
    """
    low, high = (bound.to(context.device) for bound in box)
    perturbed = Perturbed(model, start.to(context.device))

    @torch.no_grad()
    def project(*_: object) -> None:
        perturbed.perturbation.copy_(perturbed.perturbation.clamp(low, high))

    context.fit(
        perturbed,
        images,
        Recipe(
            epochs=epochs,
            batch_size=_BATCH,
            optimizer="adam",
            lr=lr,
            weight_decay=0,
            schedule="constant",
        ),
        what=what,
        step=step,
        augmentation=Augmentation(),
        parameters=[perturbed.perturbation],
        after_update=project,
        train_mode=False,
    )
    return perturbed.perturbation.detach()
