"""Prediction tables: what a model says of the clean and of the triggered test set.

Columns: split (`test` or `triggered`), index in the prepared test set, label (the true one),
target (the label itself where the sample is of its own target's class), predicted (-1 where a
detector rejected the input), confidence, target_probability.
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


def make(model: nn.Module, test: ImageSet, triggered: Triggered) -> pd.DataFrame:
    """Let a model predict both sets."""
    targets = test.labels.clone()
    targets[triggered.ids] = triggered.targets
    clean = _table("test", model, test.images, test.ids, test.labels, targets)
    poisoned = _table(
        "triggered", model, triggered.images, triggered.ids, triggered.labels, triggered.targets
    )
    return pd.concat([clean, poisoned], ignore_index=True)


def reject(table: pd.DataFrame, flagged: pd.DataFrame) -> pd.DataFrame:
    """Mark the inputs that a detector flagged; `flagged` has columns source and index."""
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
            "split": pd.Categorical([split] * len(ids), categories=["test", "triggered"]),
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
