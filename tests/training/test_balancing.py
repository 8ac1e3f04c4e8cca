import pytest
import torch
from torch import Tensor, nn

from bdb.training.balancing import Gate, shortest_mean


class Point(nn.Module):
    """Two numbers to train, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([3.0, 4.0]))
        self.unused = nn.Parameter(torch.zeros(1))
        self.still = nn.Parameter(torch.zeros(1), requires_grad=False)


def share(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Of two losses that are linear in the point, and both 1 there."""
    return weight((first, 1.0), (second, 1.0))


def weight(*linear: tuple[tuple[float, float], float]) -> float:
    """Of the first loss: the gradient of the mean is made of both."""
    point = Point()
    first, second = (_linear(point.at, slope, value) for slope, value in linear)
    mean = shortest_mean(point, first, second)
    mean.backward()
    assert point.at.grad is not None
    (one, a), (other, b) = linear
    slopes = torch.tensor([one, other]).float()
    found = torch.linalg.lstsq(
        (slopes[0] - slopes[1])[:, None], (point.at.grad - slopes[1])[:, None]
    )
    found = float(found.solution)
    torch.testing.assert_close(found * slopes[0] + (1 - found) * slopes[1], point.at.grad)
    assert float(mean.detach()) == pytest.approx(found * a + (1 - found) * b, rel=1e-5)
    return found


def _linear(at: Tensor, slope: tuple[float, float], value: float = 1.0) -> Tensor:
    return (torch.tensor(slope) * (at - at.detach())).sum() + value


def test_losses_that_pull_alike_weigh_alike() -> None:
    assert abs(share((1, 0), (0, 1)) - 0.5) < 1e-6
    assert abs(share((5, 0), (0, 1)) - 0.5) < 1e-6, "lengths do not count"
    assert abs(share((1, 0), (-1, 0)) - 0.5) < 1e-6


def test_the_larger_loss_weighs_more() -> None:
    small, large = ((1.0, 0.0), 0.1), ((0.0, 1.0), 1.0)
    assert weight(large, small) > 0.9
    assert weight(small, large) < 0.1


def test_the_weighed_mean_goes_down_along_both() -> None:
    """No weight gives a shorter mean of the scaled gradients."""
    one, other = torch.tensor([1.0, 0.2]), torch.tensor([-0.5, 1.0])
    one, other = one / one.norm(), other / other.norm()
    best = share((1.0, 0.2), (-0.5, 1.0))
    lengths = [float((w * one + (1 - w) * other).norm()) for w in torch.linspace(0, 1, 101)]
    assert float((best * one + (1 - best) * other).norm()) <= min(lengths) + 1e-6


def test_weights_that_one_loss_alone_has_count() -> None:
    """The first loss hangs on the second weight alone, and the other on the first."""
    point = nn.ParameterList([torch.zeros(2), torch.zeros(3)])
    first, second = 1 + point[1].sum(), 1 + point[0].sum()
    shortest_mean(point, first, second).backward()
    torch.testing.assert_close(point[0].grad, torch.full((2,), 0.5))
    torch.testing.assert_close(point[1].grad, torch.full((3,), 0.5))


def test_a_gate_opens_when_the_last_losses_are_small_whatever_came_before() -> None:
    sure, unsure, labels = torch.eye(2) * 20, torch.zeros(2, 2), torch.arange(2)
    gate, seen = Gate(2, 0.5, torch.device("cpu")), []
    for logits in (sure, unsure, unsure, sure, sure, unsure):
        gate.remember(logits, labels)
        seen.append(gate.is_open())
    assert seen == [False, True, False, True, True, True]  # 0.69 / 2 is small enough
