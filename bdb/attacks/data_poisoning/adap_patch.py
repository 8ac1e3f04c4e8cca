"""Adaptive-Patch: four patches, one of them faint in each training sample, among covers."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bdb.attacks import pictures
from bdb.attacks.base import AttackContext, Covered, Role, State
from bdb.attacks.extent import Extent
from bdb.method import Paper, Trace
from bdb.registry import register
from bdb.training import seeds

_CORNERS = 4


@register("adap_patch")
class AdaptivePatch(Covered):
    """Each poison, and each cover, shows one of four faint patches; test images some in full.

    Differs: which patch a sample shows is drawn for it, and a patch is the same at test time; the
    code deals them by rank, and tests with another picture. The published pictures have owners:
    ours are squares of random colours in the corners.
    """

    paper: ClassVar[Paper] = Paper(
        title="Revisiting the Assumption of Latent Separability for Backdoor Defenses",
        authors="Qi, Xie, Li, Mahloujifar, Mittal",
        venue="ICLR",
        year=2023,
        url="https://openreview.net/forum?id=_wSHsgrVali",
    )
    extent: ClassVar[Extent] = {"side": {"patch_size": 2}}
    evades: ClassVar[frozenset[Trace]] = frozenset({"features", "inputs"})

    covers_per_poison: float = Field(2.0, ge=0, le=100, description="covers for each poison")
    patch_size: int = Field(6, ge=1, le=64, description="side of each square in pixels")
    opacities: tuple[float, float, float, float] = Field(
        (0.5, 0.2, 0.5, 0.3), description="of each patch in training, in (0, 1]"
    )
    test_patches: tuple[int, ...] = Field(
        (0, 2), min_length=1, description="which of them, 0 to 3, test images show in full"
    )

    def prepare_trigger(self, context: AttackContext) -> State:
        """Draw the patches.

        Returns:
            `patches`: float32, 4 x C x patch_size x patch_size, in [0, 1].
            `seed`: int64, of which patch a sample shows.
        """
        channels, size = context.data.shape[0], self.patch_size
        generator = context.generator(self.name, "patches")
        shape = (_CORNERS * channels, size, size)
        patches = pictures.draw("noise", shape, generator).round()
        seed = seeds.derive(context.seed, "attack", self.name, "which")
        return {
            "patches": patches.view(_CORNERS, channels, size, size),
            "seed": torch.tensor(seed),
        }

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Mix each corner's patch in, as opaque as the image shows it."""
        stamped = images.float()
        opacity = self.opacity(role, ids, int(state["seed"]))
        for corner, patch in enumerate(state["patches"]):
            square = _square(stamped, corner, self.patch_size)
            square += opacity[:, corner, None, None, None] * (255 * patch - square)
        return stamped.round().to(torch.uint8)

    def opacity(self, role: Role, ids: Tensor, seed: int) -> Tensor:
        """How opaque each image shows each patch: float32, N x 4."""
        if role == "test":
            shown = [float(corner in self.test_patches) for corner in range(_CORNERS)]
            return torch.tensor(shown).to(ids.device).expand(len(ids), -1)
        which = (_CORNERS * seeds.uniform_by_id(ids, 1, seed)[:, 0]).long()
        return torch.diag(torch.tensor(self.opacities)).to(ids.device)[which]


def _square(images: Tensor, corner: int, size: int) -> Tensor:
    """A view of one corner of images, N x C x size x size."""
    rows = slice(None, size) if corner < 2 else slice(-size, None)
    columns = slice(None, size) if corner % 2 == 0 else slice(-size, None)
    return images[:, :, rows, columns]
