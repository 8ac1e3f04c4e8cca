"""What detectors say of single images: inputs that arrived, or the samples of a training set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from bdb.defenses.base import Defense, Split
from bdb.scan.ladder import Ladder

_FITS: dict[Split, Callable[[Defense], bool]] = {
    "inputs": lambda each: each.stage == "inference" and "inputs" in each.needs,
    "train": lambda each: each.stage == "pre_training" and "train_set" in each.needs,
}


@dataclass(frozen=True)
class Sifted:
    """What one detector said of every image.

    Attributes:
        detector: its name.
        split: which images they are.
        names: of the images.
        scores: float, N, higher is more suspicious; empty if it did not come to any.
        flagged: bool, N, by its own threshold.
        reason: why there are none.
        seconds: that it took.
    """

    detector: str
    split: Split
    names: list[str]
    scores: Tensor
    flagged: Tensor
    reason: str = ""
    seconds: float = 0.0


def sift(ladder: Ladder, split: Split, names: list[str]) -> Iterator[Sifted]:
    """Ask one detector of such images after the other.

    Args:
        ladder: with the images, and with clean ones for those that need some.
        split: which images are meant.
        names: of these, in their order.
    """
    for detector in ladder.detectors(_FITS[split]):
        outcome, reason, seconds = ladder.ask(detector)
        scores = outcome.scores.get(split) if outcome else None
        if outcome is None or scores is None:
            none = torch.empty(0)
            reason = reason or "it scores no images"
            yield Sifted(detector.name, split, names, none, none.bool(), reason, seconds)
            continue
        flagged = outcome.flagged.get(split, torch.zeros(len(scores), dtype=torch.bool))
        yield Sifted(detector.name, split, names, scores.cpu(), flagged.cpu(), "", seconds)


def table(found: list[Sifted]) -> pd.DataFrame:
    """A row per image and detector: split, image, detector, score, flagged."""
    parts = [
        pd.DataFrame(
            {
                "split": each.split,
                "image": each.names,
                "detector": each.detector,
                "score": each.scores.numpy(),
                "flagged": each.flagged.numpy(),
            }
        )
        for each in found
        if not each.reason
    ]
    columns = ["split", "image", "detector", "score", "flagged"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def votes(found: list[Sifted], split: Split) -> tuple[list[tuple[str, int]], int]:
    """The images that any detector flags, by how many do, the most first; and how many judged."""
    judging = [each for each in found if each.split == split and not each.reason]
    if not judging:
        return [], 0
    counts = torch.stack([each.flagged for each in judging]).sum(0)
    order = counts.argsort(descending=True, stable=True)
    pairs = [(judging[0].names[at], int(counts[at])) for at in order.tolist()]
    return [pair for pair in pairs if pair[1]], len(judging)
