"""How well a detector tells poisoned samples from clean ones."""

from __future__ import annotations

import numpy as np


def rates(
    truth: np.ndarray, flagged: np.ndarray, cross: np.ndarray | None = None
) -> dict[str, float]:
    """TPR, FPR, F1 and flagged_cross of a decision; NaN where nothing is there to be counted.

    Args:
        truth: bool, N: is the sample poisoned?
        flagged: bool, N.
        cross: bool, N: does it carry a trigger or noise under its true label? Such a sample is
            neither poison nor clean: what is flagged of them is a share of its own, and no error.
    """
    cross = np.zeros_like(truth) if cross is None else cross
    clean = ~truth & ~cross
    true_positives, false_positives = (truth & flagged).sum(), (clean & flagged).sum()
    f1 = _share(2.0 * true_positives, truth.sum() + true_positives + false_positives)
    return {
        "tpr": _share(true_positives, truth.sum()),
        "fpr": _share(false_positives, clean.sum()),
        "f1": f1 if truth.any() else float("nan"),
        "flagged_cross": _share((cross & flagged).sum(), cross.sum()),
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
    return float(part) / float(whole) if whole else float("nan")
