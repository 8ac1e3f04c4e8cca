import pytest
import torch
from sklearn.metrics import roc_auc_score

from bdb.defenses.inference.ted import ranks
from bdb.testing import Lab, lab

WARP = {"strength": 2.0, "noise": 4.0}


def found(victim: Lab) -> tuple[float, float, float]:
    """AUROC, and the shares of triggered and of clean inputs that are rejected."""
    outcome = victim.defend("ted")
    _, triggered = victim.inputs()
    rejected = outcome.flagged["inputs"].float()
    area = roc_auc_score(triggered, outcome.scores["inputs"])
    return float(area), float(rejected[triggered].mean()), float(rejected[~triggered].mean())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fields"), [("badnets", {}), ("wanet", WARP)])
def test_triggered_inputs_come_from_elsewhere(name: str, fields: dict[str, float]) -> None:
    area, true, false = found(lab(name, **fields))
    assert area > 0.9
    assert true > 0.6
    assert false < 0.15


def test_a_model_without_a_backdoor_rejects_what_was_asked() -> None:
    outcome = lab("none", 0.0).defend("ted")
    assert outcome.flagged["inputs"].float().mean() < 0.15


def test_ranks_by_hand() -> None:
    known = [torch.tensor([[0.0], [1.0], [3.0], [6.0]])]
    labels = torch.tensor([0, 0, 1, 1])
    inputs = [torch.tensor([[0.2], [2.5], [0.4]])]
    answers = torch.tensor([0, 1, 1])
    # The third is answered 1, and 0.0 and 1.0 are nearer than 3.0.
    assert ranks(inputs, answers, known, labels).tolist() == [[0.0], [0.0], [2.0]]
    assert ranks(inputs, torch.tensor([2, 2, 2]), known, labels).tolist() == [[4.0]] * 3


def test_a_known_image_is_not_its_own_neighbour() -> None:
    known = [torch.tensor([[0.0], [5.0], [5.1]])]
    labels = torch.tensor([0, 0, 1])
    assert ranks(known, labels, known, labels, apart=True).tolist() == [[0.0], [1.0], [2.0]]
