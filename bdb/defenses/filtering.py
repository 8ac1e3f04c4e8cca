"""What defenses share that filter the training set by its features and train again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bdb.defenses.base import DefenderView, Outcome, PreTraining
from bdb.models.base import Classifier


def class_features(view: DefenderView) -> Iterator[tuple[Tensor, Tensor]]:
    """The penultimate features of each whole class, by the given labels, in the order of the ids.

    So nothing depends on the order in which the training set was delivered.

    Yields:
        Positions in the training set (int64, n) and features (float32, n x D), both on the CPU;
        classes without a sample are left out.
    """
    features = view.features.penultimate
    labels = view.train_set.labels.cpu()
    order = view.train_set.ids.cpu().argsort()
    for label in labels.unique():
        positions = order[labels[order] == label]
        yield positions, features[positions]


def principal(features: np.ndarray, dimensions: int) -> np.ndarray:
    """The first principal components of float32 features (n x D), without those that are noise.

    Returns:
        float64, n x d: d is at most `dimensions`, and 0 if all features are alike.
    """
    rows = torch.from_numpy(features).double()
    left, singular, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    rounding = torch.finfo(torch.float32).eps * max(rows.shape) ** 0.5 * rows.norm()
    kept = int((singular[:dimensions] > rounding).sum())
    points: np.ndarray = (left[:, :kept] * singular[:kept]).numpy()
    return points


def retrain(view: DefenderView, flagged: Tensor) -> Classifier:
    """A fresh model, trained as the suspect was, without the flagged samples.

    If nothing is flagged, training again would change nothing: the suspect comes back.

    Args:
        view: with the model and the training set.
        flagged: bool, one per training sample, on the CPU.
    """
    if not flagged.any():
        return view.model
    model = view.build_model("retrain")
    kept = view.train_set[~flagged.to(view.train_set.labels.device)]
    view.fit(model, kept, view.recipe, what="retrain")
    return model


def without(defense: PreTraining, view: DefenderView, scores: Tensor, flagged: Tensor) -> Outcome:
    """What a filter of the training set gives back: its findings, and `retrain`'s model if wanted.

    Args:
        defense: whose `retrain` says whether a model is trained anew; the suspect comes back else.
        view: with the model and the training set.
        scores: float, one per training sample.
        flagged: bool, one per training sample, on the CPU.
    """
    model = None
    if view.wants_model:
        model = retrain(view, flagged) if defense.retrain else view.model
    return Outcome(model=model, scores={"train": scores}, flagged={"train": flagged})
