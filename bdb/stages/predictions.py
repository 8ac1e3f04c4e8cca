"""Prediction tables: what a model says of the clean and of the triggered test set.

Columns: split (`test`, `triggered`, or `cross`: triggers that must not work), index in the prepared
test set, label (the true one), target (the label itself where the sample is of its own target's
class), predicted (-1 where a detector rejected the input), confidence, target_probability,
is_source (of a class that the trigger is meant for).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bdb.attacks.poisoning import Triggered
from bdb.datasets.base import ImageSet
from bdb.training import inference

REJECTED = -1
SPLITS = ("test", "triggered", "cross")


def make(
    model: nn.Module, test: ImageSet, triggered: Triggered, crossed: ImageSet | None = None
) -> pd.DataFrame:
    """Let a model predict both sets, and the one with triggers that must not work."""
    targets = test.labels.clone()
    targets[triggered.ids] = triggered.targets
    sources = torch.ones_like(test.labels, dtype=torch.bool)
    sources[triggered.ids] = triggered.is_source
    clean = _table("test", model, test.images, test.ids, test.labels, targets)
    clean = clean.assign(is_source=sources.numpy())
    poisoned = _table(
        "triggered", model, triggered.images, triggered.ids, triggered.labels, triggered.targets
    )
    poisoned = poisoned.assign(is_source=triggered.is_source.numpy())
    tables = [clean, poisoned]
    if crossed is not None and len(crossed):
        labels = crossed.labels
        table = _table("cross", model, crossed.images, crossed.ids, labels, labels)
        tables.append(table.assign(is_source=False))
    return pd.concat(tables, ignore_index=True)


def reject(table: pd.DataFrame, flagged: pd.DataFrame) -> pd.DataFrame:
    """Mark the inputs that a detector flagged; `flagged` has columns source and index.

    Left out is `cross`, which no detector is shown.
    """
    table = table[table["split"] != "cross"]
    rejected = pd.MultiIndex.from_frame(flagged[["source", "index"]])
    rows = pd.MultiIndex.from_frame(table[["split", "index"]]).isin(rejected)
    return table.assign(predicted=table["predicted"].where(~rows, REJECTED))


def _table(
    split: str, model: nn.Module, images: Tensor, ids: Tensor, labels: Tensor, targets: Tensor
) -> pd.DataFrame:
    logits = inference.logits(model, images)
    probabilities = torch.softmax(logits, dim=1) if len(ids) else torch.zeros(0, 1)
    confidence, predicted = probabilities.max(dim=1)
    return pd.DataFrame(
        {
            "split": pd.Categorical([split] * len(ids), categories=SPLITS),
            "index": ids.numpy().astype(np.int32),
            "label": labels.numpy().astype(np.int16),
            "target": targets.numpy().astype(np.int16),
            "predicted": predicted.numpy().astype(np.int16),
            "confidence": confidence.numpy(),
            "target_probability": _of_target(probabilities, targets).numpy(),
        }
    )


def _of_target(probabilities: Tensor, targets: Tensor) -> Tensor:
    return probabilities.gather(1, targets[:, None])[:, 0] if len(targets) else torch.zeros(0)
