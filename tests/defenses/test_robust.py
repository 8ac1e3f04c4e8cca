import torch

from bdb.defenses.robust import usual, whitening


def gaussian(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_robust_covariance_leaves_out_a_loud_tenth() -> None:
    points = gaussian(2000, 4)
    points[:200, 0] += 12
    left = usual(points, 0.1)
    assert not (left[:, 0] > 8).any()
    _, whiten = whitening(left)
    torch.testing.assert_close(whiten, torch.eye(4, dtype=torch.float64), atol=0.1, rtol=0)
    assert len(usual(gaussian(2000, 4), 0.1)) == 2000, "nothing is loud, and nothing goes"
