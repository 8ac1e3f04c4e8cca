import torch

from bdb.defenses import label_gradients
from bdb.testing import Lab


def test_gradients_are_of_each_sample_alone(badnets: Lab) -> None:
    data = badnets.train_set
    whole, alone = (label_gradients.of(badnets.model, data[torch.arange(a, 12)]) for a in (0, 11))
    assert [tuple(stage.shape) for stage in whole] == [(12, 16), (12, 32), (12, 64)]
    for stage, single in zip(whole, alone, strict=True):
        torch.testing.assert_close(stage[11:], single, rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(stage.norm(dim=1), torch.ones(12))
