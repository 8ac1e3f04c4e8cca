"""No attack: the clean-model control."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bdb.attacks.base import Attack, Role, State
from bdb.registry import register


@register("none")
class NoAttack(Attack):
    """The clean-model control: nothing is poisoned, and the trigger changes nothing.

    Its ASR is how often a clean image of another class is taken for the target.
    """

    means: ClassVar = "control"
    poisons: ClassVar[bool] = False

    trained_as: str = Field(
        "",
        description="attack whose recipe and augmentation the control is trained with",
        json_schema_extra={"names": "attack"},
    )

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """The images as they are."""
        return images.clone()
