"""LC: poisons that a robust model can hardly tell, so that the patch on them is what counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks.base import AttackContext, DataPoisoning, LabelMode, Role, State
from bdb.attacks.extent import Extent
from bdb.attacks.surrogates import Surrogate
from bdb.method import Paper
from bdb.registry import register
from bdb.training import adversarial
from bdb.training.loop import to_bytes, to_float


@register("lc")
class LabelConsistent(DataPoisoning):
    """A patch in the corners of adversarial images of the target class; no label changes.

    Differs: the search begins at the image itself. The published poisons are files, and their
    robust model was not published; ours is trained by the victim's recipe.
    """

    paper: ClassVar[Paper] = Paper(
        title="Label-Consistent Backdoor Attacks",
        authors="Turner, Tsipras, Madry",
        venue="arXiv",
        year=2019,
        url="https://arxiv.org/abs/1912.02771",
    )
    label_mode: ClassVar[LabelMode] = "clean"
    surrogates: ClassVar[Mapping[str, Surrogate]] = {"robust": Surrogate(eps=8, steps=7)}
    extent: ClassVar[Extent] = {"side": {"patch_size": 2}}

    eps: float = Field(8, ge=0, le=255, description="linf radius of the search, in grey levels")
    stride: float = Field(1.5, gt=0, le=255, description="of a step of the search, in grey levels")
    steps: int = Field(100, ge=1, description="of the search")
    patch_size: int = Field(3, ge=1, le=64, description="side of a patch in pixels")
    corners: Literal[1, 4] = Field(4, description="that carry the patch; four survive a mirroring")
    amplitude: float = Field(255, gt=0, le=255, description="of the patch in poisons, grey levels")
    amplitude_test: float | None = Field(
        None, gt=0, le=255, description="of the patch at test time; amplitude if left out"
    )

    def craft(
        self, images: Tensor, labels: Tensor, context: AttackContext, state: State, ids: Tensor
    ) -> Tensor:
        """Move the images away from their class, as the robust model sees it; then stamp them."""
        clean = to_float(images)
        harder = adversarial.search(
            context.surrogate("robust"),
            clean,
            labels,
            self.eps / 255,
            self.steps,
            torch.zeros_like(clean),
            self.stride / 255,
        )
        return self.stamp(to_bytes(harder), state, role="poison", ids=ids, targets=labels)

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Add the patch, and clamp."""
        amplitude = (self.amplitude_test or self.amplitude) if role == "test" else self.amplitude
        pattern = amplitude * self.pattern(*images.shape[2:]).to(images.device)
        return (images.float() + pattern).clamp(0, 255).round().to(torch.uint8)

    def pattern(self, height: int, width: int) -> Tensor:
        """A chequered patch in the bottom right corner, or mirrored in all four: H x W, -1 to 1."""
        side = self.patch_size
        steps = torch.arange(side)
        signs = 1 - 2.0 * ((steps[:, None] + steps) % 2)
        pattern = torch.zeros(height, width)
        pattern[-side:, -side:] = signs
        if self.corners == 4:
            pattern[-side:, :side] = signs.flip(1)
            pattern[:side] = pattern[-side:].flip(0)
        return pattern
