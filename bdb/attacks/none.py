"""No attack: the clean-model control."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from torch import Tensor

from bdb.attacks.base import Attack, AttackContext, Role, State
from bdb.registry import register


@register("none")
class NoAttack(Attack):
    """The clean-model control: nothing is poisoned, and the trigger changes nothing.

    Its ASR is how often a clean image of another class is taken for the target.
    """

    poisons: ClassVar[bool] = False

    def select(
        self,
        labels: np.ndarray,
        ratio: float,
        rng: np.random.Generator,
        context: AttackContext,
    ) -> np.ndarray:
        """No sample."""
        return np.empty(0, dtype=np.int64)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """The images as they are."""
        return images.clone()
