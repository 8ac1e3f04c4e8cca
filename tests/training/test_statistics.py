import torch
from torch import nn

from bdb.models import base as models
from bdb.models import surgery
from bdb.testing import Lab
from bdb.training import statistics
from bdb.training.batches import to_float

# Their sums are taken in another order.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def test_a_norm_remembers_these_images_alone(badnets: Lab) -> None:
    model = models.duplicate(badnets.model).train()
    images = badnets.clean_set.images[:200]
    with surgery.recording(model, ["stem.0"]) as maps, torch.no_grad():
        model(to_float(images))
    statistics.relearn(model, images)
    norm = surgery.batch_norms(model)["stem.1"]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, maps["stem.0"].mean((0, 2, 3)), **CLOSE)
    torch.testing.assert_close(norm.running_var, maps["stem.0"].var((0, 2, 3)), **CLOSE)
    assert norm.momentum == 0.1
    assert not any(module.training for module in model.modules())
    weights = dict(badnets.model.named_parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in model.named_parameters())


class Still(nn.BatchNorm2d):
    """Stays in evaluation mode."""

    def train(self, mode: bool = True) -> "Still":
        return super().train(False)


def test_what_stays_at_rest_keeps_its_memory(badnets: Lab) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Still(4), nn.BatchNorm2d(4))
    statistics.relearn(model, badnets.clean_set.images[:20])
    still, norm = model[1], model[2]
    assert torch.equal(still.running_mean, torch.zeros(4))
    assert not torch.equal(norm.running_mean, torch.zeros(4))


def test_a_single_image_changes_nothing(badnets: Lab) -> None:
    model = models.duplicate(badnets.model)
    statistics.relearn(model, badnets.clean_set.images[:1])
    before = badnets.model.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
