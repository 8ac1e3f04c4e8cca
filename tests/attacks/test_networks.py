from pathlib import Path

import pytest
import torch
from torch import nn

from bdb.attacks import networks, poisoning
from bdb.models.unet import UNet
from bdb.testing import make_context
from bdb.training import seeds
from bdb.training.batches import to_bytes, to_float

SHAPES = [(1, 28, 28), (3, 20, 40), (3, 5, 7), (3, 1, 1), (1, 64, 64)]


def images(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_networks_fit_any_image(shape: tuple[int, int, int]) -> None:
    made = UNet(shape[0], 2, 4)(images(shape))
    assert made.shape == (4, 2, *shape[1:])
    assert networks.Decoder(shape[0], 9, 4)(images(shape)).shape == (4, 9)


@pytest.mark.parametrize("seed", range(4))
def test_skips_carry_what_the_lowest_level_cannot(seed: int) -> None:
    """One pixel moves the output there far more than elsewhere."""
    with seeds.isolated(seed):
        net = UNet(1, 1, 4).eval()
    still = torch.zeros(1, 1, 32, 32)
    moved = still.clone()
    moved[0, 0, 9, 20] = 1
    with torch.no_grad():
        change = (net(moved) - net(still)).abs()[0, 0]
    there = torch.zeros(32, 32, dtype=torch.bool)
    there[8:11, 19:22] = True
    assert float(change[there].mean()) > 5 * float(change[~there].mean())


def test_a_state_gives_back_the_same_network(tmp_path: Path) -> None:
    context, _ = make_context(size=20)
    net = networks.build(lambda: UNet(3, 3, 4), context, "any", "net")
    net(images((3, 16, 16)))  # so that its batch norms have seen something
    path = tmp_path / "trigger.safetensors"
    poisoning.save_trigger(path, networks.pack(net=net, other=nn.Linear(2, 2)), origin={})
    state = poisoning.load_trigger(path, torch.device("cpu"))
    again = networks.unpack(lambda: UNet(3, 3, 4), state, "net")
    x = images((3, 16, 16))
    with torch.no_grad():
        assert torch.allclose(net.eval()(x), again(x), atol=1e-6)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in again.modules())


def test_fresh_weights_follow_from_seed_and_name() -> None:
    context, _ = make_context(size=20)

    def weights(*names: str) -> torch.Tensor:
        return networks.build(lambda: nn.Linear(3, 3), context, *names).weight

    assert torch.equal(weights("a"), weights("a"))
    assert not torch.equal(weights("a"), weights("b"))


def test_pixels_are_rounded_and_clamped_but_gradients_pass() -> None:
    pixels = torch.tensor([-0.5, 0.0, 0.4999, 1.7], requires_grad=True)
    kept = networks.as_stored(pixels)
    assert kept.mul(255).tolist() == pytest.approx([0, 0, 127, 255], abs=1e-4)
    kept.sum().backward()  # type: ignore[no-untyped-call]
    assert pixels.grad is not None
    assert pixels.grad.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("count", [0, 1, 16, 37])
def test_slices_are_stamped_as_the_whole(count: int) -> None:
    draws = torch.Generator().manual_seed(0)
    first, second = torch.randint(256, (2, count, 3, 8, 8), generator=draws).to(torch.uint8)
    made = networks.stamped(lambda one, other: (one + other) / 2, first, second)
    whole = to_bytes((to_float(first) + to_float(second)) / 2)
    assert made.dtype == torch.uint8
    assert torch.equal(made, whole)
