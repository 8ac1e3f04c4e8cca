"""No attack: the clean-model control."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bdb.attacks.base import Attack, Role, State
from bdb.datasets.augmentation import Augmentation
from bdb.registry import register
from bdb.training import adversarial, loop
from bdb.training.recipes import Recipe


@register("none")
class NoAttack(Attack):
    """The clean-model control: nothing is poisoned, and the trigger changes nothing.

    Its ASR is how often a clean image of another class is taken for the target. Instances, whose
    names begin with `none_`, are clean models that are trained in other ways: a verdict on a model
    is worth how seldom it is said of these.
    """

    means: ClassVar = "control"
    poisons: ClassVar[bool] = False

    trained_as: str = Field(
        "",
        description="attack whose recipe and augmentation the control is trained with",
        json_schema_extra={"names": "attack"},
    )
    epochs: int | None = Field(
        None, ge=1, le=100_000, description="passes over the data; as the recipe has it if null"
    )
    crop_padding: int | None = Field(
        None, ge=0, le=64, description="border of the random crop; as the recipe has it if null"
    )
    rotation: float = Field(0.0, ge=0, le=180, description="most degrees that training turns by")
    eps: int = Field(
        0, ge=0, le=255, description="grey levels that adversarial training changes; 0 is none"
    )
    steps: int = Field(5, ge=1, description="of the search for each adversarial image")

    @property
    def departs(self) -> bool:
        """Whether training is not what the recipe and the data set have."""
        changes = (self.epochs, self.crop_padding, self.rotation or None, self.eps or None)
        return any(change is not None for change in changes)

    def recipe(self, default: Recipe) -> Recipe:
        """With as many passes, and the border that is asked for."""
        asked = {"epochs": self.epochs, "crop_padding": self.crop_padding}
        changes = {name: value for name, value in asked.items() if value is not None}
        return default.model_copy(update=changes)

    def augmentation(self, default: Augmentation) -> Augmentation:
        """With turns of the images."""
        if not self.rotation:
            return default
        return default.model_copy(update={"rotation": self.rotation})

    def objective(self) -> loop.Step:
        """Cross-entropy, of adversarial images if so asked."""
        return adversarial.step(self.eps, self.steps) if self.eps else loop.cross_entropy

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """The images as they are."""
        return images.clone()
