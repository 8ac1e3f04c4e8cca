from functools import cache

import torch
import yaml
from torch import Tensor

from bdb import presets
from bdb.attacks.data_poisoning.trojannn import TrojanNN
from bdb.testing import Lab, lab, make_context
from bdb.training import inference
from bdb.training.loop import to_bytes

FIELDS = yaml.safe_load(presets.text("digits"))["attacks"]["trojannn"]


def victim() -> Lab:
    return lab("trojannn", **FIELDS)


def test_the_patch_is_a_backdoor() -> None:
    accuracy, success = victim().rates(victim().model)
    control = lab("none", 0.0)
    assert accuracy >= control.rates(control.model)[0] - 0.03
    assert success >= 0.95


@cache
def excited() -> Tensor:
    """How active the chosen neurons of the clean model are: plain, random patch, trigger; 3 x 2."""
    model = lab("none", 0.0).model
    attack, state = TrojanNN(), victim().poison.state
    neurons = model.head.weight.abs().sum(0).topk(attack.neurons).indices
    clean = victim().test.images
    noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * state["opacity"]
    ids = torch.arange(len(clean))
    shown = [clean] + [
        attack.stamp(clean, {**state, "patch": patch}, role="test", ids=ids, targets=ids)
        for patch in (noise, state["patch"])
    ]
    return torch.stack([inference.features(model, images)[:, neurons].mean(0) for images in shown])


def test_it_excites_the_chosen_neurons_on_images_that_the_search_has_not_seen() -> None:
    plain, noise, trigger = excited().mean(1)
    assert trigger > 1.1 * max(plain, noise), (plain, noise, trigger)


def test_pixels_under_the_patch_are_the_patch_and_never_wrap() -> None:
    state = victim().poison.state
    triggered = victim().poison.test
    covered = state["opacity"] == 1
    expected = to_bytes(state["patch"])[:, covered]
    assert bool((triggered.images[:, :, covered] == expected).all())
    clean = victim().test[triggered.ids].images
    assert torch.equal(triggered.images[:, :, ~covered], clean[:, :, ~covered])


def test_a_faint_patch_lets_the_image_through_and_does_not_wrap() -> None:
    attack = TrojanNN(opacity=0.3, steps=1)
    context, _ = make_context(size=50)
    state = attack.prepare_trigger(context)
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    stamped = attack.stamp(white, state, role="test", ids=torch.arange(1), targets=torch.arange(1))
    assert int(stamped.min()) >= round(0.7 * 255) - 1


def test_the_patch_takes_its_share_of_any_image() -> None:
    for height, width in ((32, 32), (64, 64), (32, 24), (8, 8)):
        mask = TrojanNN().mask(height, width)
        assert abs(float(mask.mean()) - 0.07) < 0.02
        assert bool((mask[-1, -1] == 1) & (mask[0, 0] == 0))
