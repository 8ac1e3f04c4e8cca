import pytest
import torch
from sklearn.metrics import roc_auc_score

from bdb.defenses.inference.badexpert import triangle
from bdb.testing import Lab, lab

# Of 140 clean images few steps are taken: an epoch of the published ones is 16.
STRENGTH = {
    "expert_lr": 5e-4,
    "expert_epochs": 20,
    "expert_batch_size": 32,
    "epochs": 20,
    "batch_size": 32,
}


def found(victim: Lab, **fields: float) -> tuple[float, float, float]:
    """AUROC, and the shares of triggered and of clean inputs that are rejected."""
    outcome = victim.defend("badexpert", **STRENGTH | fields)
    _, triggered = victim.inputs()
    rejected = outcome.flagged["inputs"].float()
    area = roc_auc_score(triggered, outcome.scores["inputs"])
    return float(area), float(rejected[triggered].mean()), float(rejected[~triggered].mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"), [("badnets", {}), ("wanet", {"strength": 2.0, "noise": 4.0})]
)
def test_what_only_the_expert_knows_is_rejected(name: str, fields: dict[str, float]) -> None:
    area, true, false = found(lab(name, **fields))
    assert area > 0.9
    assert true > 0.7
    assert false < 0.06


@pytest.mark.slow
def test_a_model_without_a_backdoor_rejects_little() -> None:
    outcome = lab("none", 0.0).defend("badexpert", **STRENGTH)
    assert outcome.flagged["inputs"].float().mean() < 0.06


@pytest.mark.evidence
def test_where_every_class_is_a_target_the_expert_is_no_expert() -> None:
    """What it is taught is then the backdoor itself: AUROC .71 and .65 on two seeds."""
    area, true, _ = found(lab("badnets", target_rule="all-to-all"))
    assert area < 0.85
    assert true < 0.8


def test_the_triangle_has_its_corners_where_the_models_differ() -> None:
    ours = torch.tensor([0.0, 1.0, 0.5, 0.0, 0.25])
    theirs = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.5])
    score = triangle(ours, theirs)
    assert score[0] == 0.0  # ours doubts it, the expert is sure: nothing is more suspicious
    assert score.argmin() == 1
    assert score[2] == 0.0  # of 2 .5 / 1 and 0 / 0 the lower
    assert score[4] == pytest.approx(-1.0)  # of 1 and .5 / .25
    assert score.isfinite().all()
