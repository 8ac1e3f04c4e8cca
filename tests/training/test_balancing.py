import torch
from torch import Tensor, nn

from bdb.training.balancing import shortest


class Point(nn.Module):
    """Two numbers to train, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([3.0, 4.0]))
        self.unused = nn.Parameter(torch.zeros(1))
        self.still = nn.Parameter(torch.zeros(1), requires_grad=False)


def share(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Of two losses that are linear in the point, and both 1 there."""
    point = Point()
    losses = [_linear(point.at, slope) for slope in (first, second)]
    weight = shortest(point, *losses)
    assert not weight.requires_grad
    sum(losses).backward()  # type: ignore[union-attr]
    return float(weight)


def _linear(at: Tensor, slope: tuple[float, float], value: float = 1.0) -> Tensor:
    return (torch.tensor(slope) * (at - at.detach())).sum() + value


def test_losses_that_pull_alike_weigh_alike() -> None:
    assert abs(share((1, 0), (0, 1)) - 0.5) < 1e-6
    assert abs(share((5, 0), (0, 1)) - 0.5) < 1e-6, "lengths do not count"
    assert abs(share((1, 0), (-1, 0)) - 0.5) < 1e-6


def test_the_larger_loss_weighs_more() -> None:
    point = Point()
    small, large = _linear(point.at, (1, 0), 0.1), _linear(point.at, (0, 1), 1.0)
    assert float(shortest(point, large, small)) > 0.9
    assert float(shortest(point, small, large)) < 0.1


def test_the_weighed_mean_goes_down_along_both() -> None:
    """No weight gives a shorter mean of the scaled gradients."""
    one, other = torch.tensor([1.0, 0.2]), torch.tensor([-0.5, 1.0])
    one, other = one / one.norm(), other / other.norm()
    best = share((1.0, 0.2), (-0.5, 1.0))
    lengths = [float((w * one + (1 - w) * other).norm()) for w in torch.linspace(0, 1, 101)]
    assert float((best * one + (1 - best) * other).norm()) <= min(lengths) + 1e-6
