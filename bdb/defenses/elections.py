"""How networks elect an answer, and how many of them may change their minds before it changes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Election = Literal["plurality", "runoff"]


def tally(logits: Tensor, election: Election) -> Tensor:
    """The votes of the last round; of equals the lower class wins, as in `argmax`.

    Args:
        logits: of each member, T x N x K.
        election: `plurality`: each member is for its likeliest class; `runoff`: the two classes
            ahead meet again, and each member is for the one that it finds likelier.

    Returns:
        Votes, int64, N x K; none for a class that was not in the last round.
    """
    votes = _first_votes(logits)
    if election == "plurality":
        return votes
    first, second = _ahead(votes)
    for_first = _duels(logits, first).gather(1, second[:, None])
    last = torch.zeros_like(votes).scatter(1, first[:, None], for_first)
    return last.scatter(1, second[:, None], len(logits) - for_first)


def certify(logits: Tensor, election: Election) -> Tensor:
    """So many members may answer otherwise, in any way, and the elected class stays: float32, N.

    Args:
        logits: of each member, T x N x K.
        election: as in `tally`.
    """
    votes = _first_votes(logits)
    winner = tally(logits, election).argmax(1)
    if election == "plurality":
        needed = _half(_lead(votes, winner)).amin(1)
    else:
        needed = torch.minimum(_to_eliminate(votes, winner), _to_defeat(logits, votes, winner))
    return (needed - 1).float()


def _to_eliminate(votes: Tensor, winner: Tensor) -> Tensor:
    """How many must change before two other classes are ahead of the winner in the first round.

    A member that turns from the winner takes two off its lead over one class and one off any other.
    """
    if votes.shape[1] == 2:
        return 2 * votes.sum(1) + 2  # Both are in the last round, whatever happens.
    near, far = _lead(votes, winner).topk(2, dim=1, largest=False).values.unbind(1)
    return torch.maximum(_half(far), -((-near - far) // 3))


def _to_defeat(logits: Tensor, votes: Tensor, winner: Tensor) -> Tensor:
    """How many must change before a class meets the winner in the last round, and beats it.

    To be there it has to be ahead of the class that is there now.
    """
    first, second = _ahead(votes)
    loser = torch.where(winner == first, second, first)
    entry = _half(_lead(votes, loser)).scatter(1, loser[:, None], 0)
    members, classes = len(logits), torch.arange(votes.shape[1], device=votes.device)
    duels = 2 * _duels(logits, winner) - members + (classes > winner[:, None]).long()
    return torch.maximum(entry, _half(duels)).scatter(1, winner[:, None], 2 * members + 2).amin(1)


def _first_votes(logits: Tensor) -> Tensor:
    return one_hot(logits.argmax(2), logits.shape[2]).sum(0)


def _ahead(votes: Tensor) -> tuple[Tensor, Tensor]:
    """The two classes with the most votes, N each."""
    order = votes.argsort(dim=1, descending=True, stable=True)
    return order[:, 0], order[:, 1]


def _lead(votes: Tensor, of: Tensor) -> Tensor:
    """How far a class is ahead of each: positive where it is, by its rank alone too; N x K."""
    classes = torch.arange(votes.shape[1], device=votes.device)
    lead = votes.gather(1, of[:, None]) - votes + (classes > of[:, None]).long()
    return lead.scatter(1, of[:, None], 4 * int(votes.sum(1).max()) + 4)


def _duels(logits: Tensor, of: Tensor) -> Tensor:
    """How many members find a class likelier than each other one: int64, N x K."""
    own = logits.gather(2, of.expand(len(logits), -1)[:, :, None])
    classes = torch.arange(logits.shape[2], device=logits.device)
    return ((own > logits) | ((own == logits) & (classes > of[:, None]))).sum(0)


def _half(lead: Tensor) -> Tensor:
    """How many members must turn before a lead is gone: each takes two off it."""
    return -(-lead // 2)
