"""How well a detector tells poisoned samples from clean ones."""

from __future__ import annotations

import numpy as np


def rates(truth: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
    """TPR, FPR and F1 of a decision; NaN where nothing is there to be counted.

    Args:
        truth: bool, N: is the sample poisoned?
        flagged: bool, N.
    """
    true_positives = float((truth & flagged).sum())
    return {
        "tpr": _share(true_positives, truth.sum()),
        "fpr": _share(float((~truth & flagged).sum()), (~truth).sum()),
        "f1": _share(2 * true_positives, truth.sum() + flagged.sum()),
    }


def ranking(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUROC, average precision, and TPR at 1 % and 5 % FPR; NaN unless both kinds are there.

    Args:
        truth: bool, N.
        scores: float, N, higher is more suspicious; a class of samples without scores is left out.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    scored = np.isfinite(scores)
    truth, scores = truth[scored], scores[scored]
    names = ("auroc", "average_precision", "tpr_at_1_fpr", "tpr_at_5_fpr")
    if not len(truth) or truth.all() or not truth.any():
        return dict.fromkeys(names, float("nan"))
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    values = (
        roc_auc_score(truth, scores),
        average_precision_score(truth, scores),
        tpr[fpr <= 0.01].max(),
        tpr[fpr <= 0.05].max(),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _share(part: float, whole: float) -> float:
    return part / float(whole) if whole else float("nan")
