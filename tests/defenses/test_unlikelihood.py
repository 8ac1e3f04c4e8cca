import torch
from torch.nn.functional import one_hot

from bdb.defenses.unlikelihood import runner_up, unlikelihood


def test_is_the_logarithm_of_what_is_left() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    classes = torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(1).gather(1, classes[:, None])[:, 0]
    found = unlikelihood(logits, classes).double()
    torch.testing.assert_close(found, -(1 - p).log(), rtol=1e-5, atol=1e-5)


def test_has_a_slope_where_the_class_is_certain() -> None:
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    found = unlikelihood(logits, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([60.0]))
    (slope,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(slope, torch.tensor([[1.0, -1.0]]))


def test_the_runner_up_is_never_the_label() -> None:
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 3
    found = runner_up(logits, labels)
    assert (found != labels).all()
    torch.testing.assert_close(found, (logits - 1e3 * one_hot(labels, 3)).argmax(1))
