"""Registered changes of inference that defended models contain."""

from __future__ import annotations

import torch
from torch import Tensor

from bdb.models.base import Classifier, Wrapper, wrapper


@wrapper("feature_mask")
class FeatureMask(Wrapper):
    """Sets pruned penultimate features to zero, and keeps them there while fine-tuning."""

    mask: Tensor

    def __init__(self, inner: Classifier) -> None:
        super().__init__(inner)
        self.register_buffer("mask", torch.ones(inner.head.in_features))

    def features(self, images: Tensor) -> Tensor:
        """The inner features where the mask is one."""
        return self.inner.features(images) * self.mask
