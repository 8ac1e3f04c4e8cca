import torch

from bdb.defenses.grams import gram, row_sums
from bdb.testing import Lab


def test_a_gram_matrix_by_hand() -> None:
    maps = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])
    # Order 1: [[5, -5], [-5, 25]]. Order 2, of the squares: [[17, 73], [73, 337]], then roots.
    torch.testing.assert_close(gram(maps, 1), torch.tensor([[0.0, 20.0]]))
    roots = torch.tensor([[17.0, 73.0], [73.0, 337.0]]).sqrt().sum(1)
    torch.testing.assert_close(gram(maps, 2), roots[None])


def test_loud_maps_do_not_overflow() -> None:
    maps = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gram(maps * 1e6, 8), gram(maps, 8) * 1e12)
    assert gram(torch.zeros(1, 2, 3), 8).eq(0).all()


def test_each_image_has_sums_of_its_own(badnets: Lab) -> None:
    images = badnets.test.images[:20]
    whole = row_sums(badnets.model, images, 3)
    assert whole.shape == (20, 3 * 64)
    torch.testing.assert_close(
        whole[7:8], row_sums(badnets.model, images[7:8], 3), rtol=1e-3, atol=1e-3
    )
