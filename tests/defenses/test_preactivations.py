import pytest
import torch
from torch import Tensor

from bdb.defenses import preactivations
from bdb.models import surgery
from bdb.testing import Lab
from bdb.training import inference, loop


def inputs(victim: Lab, images: Tensor) -> dict[str, Tensor]:
    """What a whole set sends to the norms of the victim's first block: it is what enters them."""
    with surgery.recording(victim.model, ["stem.0", "layer1.conv1"]) as found, torch.no_grad():
        victim.model(loop.to_float(images))
    return {"stem.1": found["stem.0"], "layer1.bn1": found["layer1.conv1"]}


@pytest.mark.parametrize("pooled", [False, True])
def test_moments_are_those_of_the_whole_set(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    images = badnets.clean_set.images[:50]
    expected = inputs(badnets, images)
    monkeypatch.setattr(inference, "BATCH", 7)
    found = preactivations.moments(badnets.model, images, pooled=pooled)
    assert list(found) == list(surgery.batch_norms(badnets.model))
    for name, maps in expected.items():
        maps = maps.double().mean((2, 3), keepdim=True) if pooled else maps.double()
        torch.testing.assert_close(found[name].mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
        variance = maps.var((0, 2, 3), correction=0)
        torch.testing.assert_close(found[name].variance, variance, rtol=1e-4, atol=1e-6)


def test_a_visit_leaves_no_trace(badnets: Lab) -> None:
    model = badnets.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shapes: dict[str, tuple[int, ...]] = {}

    def see(name: str, maps: Tensor) -> None:
        shapes[name] = tuple(maps.shape)

    model.train()
    preactivations.visit(model, badnets.clean_set.images[:3], see)
    assert model.training
    model.eval()
    assert shapes["stem.1"] == (3, 16, 16, 16)
    assert shapes["layer3.bn2"] == (3, 64, 4, 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
