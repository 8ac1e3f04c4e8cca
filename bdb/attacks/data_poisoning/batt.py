"""BATT: the trigger is a rotation by a fixed angle; nothing is added to the image."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.base import DataPoisoning, Role, State
from bdb.datasets.augmentation import Augmentation
from bdb.datasets.transforms import rotate
from bdb.method import Paper
from bdb.registry import register
from bdb.training.loop import to_bytes, to_float


@register("batt")
class Batt(DataPoisoning):
    """Images turned by a fixed angle go to the target; training by smaller turns protects others.

    Differs: the victim turns all of its images in training, since it knows of no poison, not only
    the clean ones; rotations are bilinear, and a data set that is mirrored stays so.
    """

    paper: ClassVar[Paper] = Paper(
        title="BATT: Backdoor Attack with Transformation-based Triggers",
        authors="Xu, Li, Jiang, Xia",
        venue="ICASSP",
        year=2023,
        url="https://arxiv.org/abs/2211.01806",
    )
    changes_training: ClassVar[bool] = True
    training_field: ClassVar[str] = "clean_rotation"

    angle: float = Field(16, gt=0, le=180, description="of the trigger, degrees to the left")
    clean_rotation: float = Field(
        10, ge=0, le=180, description="most degrees that training turns by, either way"
    )

    def augmentation(self, default: Augmentation) -> Augmentation:
        """The data set's, and a rotation of every image."""
        if not self.departs:
            return default
        turned = {"rotation": self.clean_rotation, "rotation_share": 1.0}
        return default.model_copy(update=turned)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Turn the image; what comes in from outside is black."""
        angles = torch.full(ids.shape, self.angle, device=images.device)
        return to_bytes(rotate(to_float(images), angles))
