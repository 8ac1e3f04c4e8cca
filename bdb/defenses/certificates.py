"""How much change a model's answers are certified to stand, where a defense certifies them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bdb.defenses.base import Defense
from bdb.errors import BdbError
from bdb.models.base import Classifier
from bdb.training import inference


@runtime_checkable
class Certified(Protocol):
    """What the model of a defense that `certifies` has, outermost: a wrapper, as a rule."""

    def certificates(self, images: Tensor) -> Tensor:
        """How much change the answer to each image is certified to stand.

        Args:
            images: floats in [0, 1], N x C x H x W.

        Returns:
            Float, N, at least 0, in the unit that the defense's `certifies` names; NaN where
            nothing is certified.
        """
        ...


def of(model: Classifier, images: Tensor, defense: Defense) -> Tensor:
    """The certificates of a defended model's answers to uint8 images: float32, N, on the CPU.

    Raises:
        BdbError: the model gives none, or other than it should.
    """
    if not isinstance(model, Certified):
        raise BdbError(f"{defense.name}: certifies is set, but its model has no certificates()")
    was_training = model.training
    model.eval()
    try:
        found = inference.in_batches(model.certificates, images, next(model.parameters()).device)
    finally:
        model.train(was_training)
    if found.shape != (len(images),):
        raise BdbError(
            f"{defense.name}: {tuple(found.shape)} certificates for {len(images)} images"
        )
    wrong = found[found.lt(0) | found.isinf()]
    if len(wrong):
        raise BdbError(
            f"{defense.name}: certificate {float(wrong[0]):g}; allowed are at least 0, or NaN"
        )
    return found.to(torch.float32)
