"""Elections and their certificates, against every change that there is."""

from itertools import combinations, permutations, product

import pytest
import torch
from torch import Tensor

from bdb.defenses.elections import Election, certify, tally

CLASSES = 3
RANKINGS = torch.tensor(list(permutations(range(CLASSES)))).float()


def elected(logits: Tensor, election: Election) -> Tensor:
    return tally(logits, election).argmax(1)


def changed(logits: Tensor, members: int) -> Tensor:
    """Every way in which so many members can answer one image (T x 1 x K) otherwise: T x N x K."""
    ways = []
    for who in combinations(range(len(logits)), members):
        for answers in product(RANKINGS, repeat=members):
            other = logits.clone()
            other[list(who), 0] = torch.stack(answers)
            ways.append(other)
    return torch.cat(ways, 1)


def test_of_equal_votes_the_lower_class_wins() -> None:
    logits = torch.eye(3)[[1, 1, 0, 0, 2]][:, None]
    assert tally(logits, "plurality").tolist() == [[2, 2, 1]]
    assert elected(logits, "plurality").item() == 0


def test_the_two_ahead_meet_again() -> None:
    # Three are for 0, two for 1, two for 2, who would all rather have 1 than 0.
    logits = torch.tensor([[3, 2, 1]] * 3 + [[1, 3, 2]] * 2 + [[1, 2, 3]] * 2).float()[:, None]
    assert elected(logits, "plurality").item() == 0
    assert tally(logits, "runoff").tolist() == [[3, 4, 0]]
    assert elected(logits, "runoff").item() == 1


def test_a_plain_majority_certifies_half_its_lead() -> None:
    logits = torch.eye(3)[[0] * 8 + [1] * 3][:, None]
    assert certify(logits, "plurality").tolist() == [2]  # 6 to 5 still wins, 5 to 6 does not
    logits = torch.eye(3)[[1] * 8 + [0] * 4][:, None]
    assert certify(logits, "plurality").tolist() == [1]  # of 6 to 6 class 0 would win


@pytest.mark.parametrize("election", ["plurality", "runoff"])
@pytest.mark.parametrize("members", [3, 6])
def test_no_change_within_the_certificate_changes_the_answer(
    election: Election, members: int
) -> None:
    generator = torch.Generator().manual_seed(members)
    seen = set()
    for _ in range(60):
        # Leaning to one class, or hardly anything would be certified.
        lean = torch.tensor([2.0, 2, 0.5, 0.2, 0.5, 0.2])
        picked = torch.multinomial(lean, members, replacement=True, generator=generator)
        logits = RANKINGS[picked][:, None]
        stands = int(certify(logits, election))
        seen.add(stands)
        if 1 <= stands <= 2:
            answers = elected(changed(logits, stands), election)
            assert (answers == elected(logits, election)).all()
        if election == "plurality" and stands + 1 <= 2:
            answers = elected(changed(logits, stands + 1), election)
            assert (answers != elected(logits, election)).any(), "one more is enough"
    assert {0, 1} <= seen


def test_a_second_vote_certifies_more_on_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(30, 400, 5)
    truth[..., 0] = 1.0
    logits = truth + torch.randn(30, 400, 5, generator=generator)
    once, twice = (certify(logits, election) for election in ("plurality", "runoff"))
    assert twice.mean() > once.mean()


def test_two_classes_meet_but_once() -> None:
    logits = torch.eye(2)[[0] * 5 + [1] * 2][:, None]
    assert certify(logits, "plurality").equal(certify(logits, "runoff"))
