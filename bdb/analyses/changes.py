"""How far a trigger moves each channel of a network (TAC), and their order by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bdb.analyses.layers import watch
from bdb.models.base import Classifier

if TYPE_CHECKING:
    import pandas as pd


def changes(
    model: Classifier, layers: Iterable[str], clean: Tensor, triggered: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """How far a trigger moves each channel, and how much there is of it without.

    Args:
        model: its mode is put back.
        layers: names in its `core`, of maps.
        clean: uint8, N x C x H x W.
        triggered: the same images with the trigger.

    Returns:
        By the layer's name, in the order of a pass: means over the images of the L2 norm of the
        difference of the channel's maps, and of the norm of the clean map; both float64, C.
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, maps: Tensor) -> None:
        before, after = maps.flatten(2)[::2], maps.flatten(2)[1::2]
        found = torch.stack([(after - before).norm(dim=2), before.norm(dim=2)]).double().sum(1)
        sums[name] = sums[name] + found if name in sums else found

    pairs = torch.stack([clean, triggered], 1).flatten(0, 1)  # Of even batches.
    watch(model, layers, pairs, add)
    means = {name: (found / len(clean)).cpu() for name, found in sums.items()}
    return {name: (change, norm) for name, (change, norm) in means.items()}


def ranked(found: dict[str, tuple[Tensor, Tensor]]) -> pd.DataFrame:
    """One row per channel, from what `changes` gives; no rates yet."""
    import pandas as pd

    rows = [
        (name, depth, channel, tac, tac / max(float(norms.mean()), 1e-12))
        for depth, (name, (change, norms)) in enumerate(found.items())
        for channel, tac in enumerate(change.tolist())
    ]
    table = pd.DataFrame(rows, columns=["layer", "depth", "channel", "tac", "relative"])
    rank = table["relative"].rank(ascending=False, method="first").astype(int)
    return table.assign(rank=rank, c_acc=torch.nan, asr=torch.nan)


def first(table: pd.DataFrame, count: int) -> dict[str, Tensor]:
    """Which channels of each layer are among the first so many: bool, C."""
    groups = table.groupby("layer", sort=False)["rank"]
    return {str(name): torch.tensor((rank <= count).tolist()) for name, rank in groups}
