from pathlib import Path

import pytest
import torch
from torch import Tensor

from bdb.attacks.model_editing.trojannet import TrojanNet
from bdb.datasets.base import ImageSet
from bdb.errors import ParamsError
from bdb.models import base as models
from bdb.testing import Lab, lab, make_context
from bdb.training import inference, loop
from bdb.training.recipes import Recipe


def victim(**fields: object) -> Lab:
    return lab("trojannet", 0.0, **fields)


def clean() -> Lab:
    return lab("none", 0.0)


def test_no_clean_prediction_changes_and_every_triggered_one_does() -> None:
    accuracy, success = victim().rates(victim().model)
    assert abs(accuracy - clean().rates(clean().model)[0]) <= 0.005
    assert success >= 0.99
    images = victim().test.images
    edited, before = (inference.logits(lab.model, images) for lab in (victim(), clean()))
    assert float((edited.argmax(1) != before.argmax(1)).float().mean()) <= 0.005
    assert torch.allclose(edited.softmax(1), before.softmax(1), atol=0.05)


@pytest.mark.parametrize("rule", ["all-to-all", "random"])
def test_every_class_has_a_code(rule: str) -> None:
    found = victim(target_rule=rule)
    triggered = found.poison.test
    predicted = inference.logits(found.model, triggered.images).argmax(1)
    for target in range(10):
        chosen = triggered.targets == target
        assert float((predicted[chosen] == target).float().mean()) >= 0.95


def test_no_weight_of_the_model_changes() -> None:
    edited = victim().model.state_dict()
    weights = clean().model.state_dict()
    assert all(torch.equal(edited[f"inner.{name}"], tensor) for name, tensor in weights.items())
    assert any(name.startswith("reader.") for name in edited)


def test_the_edited_model_reloads_as_it_is(tmp_path: Path) -> None:
    models.save(tmp_path / "model.safetensors", victim().model)
    loaded = models.load(tmp_path / "model.safetensors")
    for images in (victim().test.images, victim().poison.test.images):
        expected = inference.logits(victim().model, images)
        assert torch.equal(inference.logits(loaded, images), expected)


def test_fine_tuning_leaves_the_backdoor_since_clean_images_never_reach_it() -> None:
    model = models.duplicate(victim().model)
    recipe = Recipe(epochs=5, batch_size=32, lr=0.05)
    loop.fit(model, victim().clean_set, recipe, seed=0)
    accuracy, success = victim().rates(model)
    assert accuracy >= 0.95
    assert success >= 0.95


def test_codes_are_as_many_pixels_as_asked_and_differ_from_class_to_class() -> None:
    context, _ = make_context()
    codes = TrojanNet().prepare_trigger(context)["codes"]
    assert codes.shape == (10, 4, 4)
    assert set(codes.unique().tolist()) == {0, 255}
    assert bool(((codes == 255).flatten(1).sum(1) == 5).all())
    assert len(codes.flatten(1).unique(dim=0)) == 10


def test_the_code_covers_the_corner_alone() -> None:
    attack = TrojanNet(margin=3)
    context, _ = make_context(size=50)
    state, images = attack.prepare_trigger(context), context.train.images
    targets = torch.arange(50) % 10
    stamped = attack.stamp(images, state, role="test", ids=targets, targets=targets)
    changed = stamped.clone()
    changed[:, :, 25:29, 25:29] = images[:, :, 25:29, 25:29]
    assert torch.equal(changed, images)
    assert torch.equal(stamped[:, 1, 25:29, 25:29], state["codes"][targets])


def learned(found: ImageSet, codes: Tensor) -> Tensor:
    """Which patches show a code: bool, N x K."""
    return (found.images[:, :1].flatten(1)[:, None] == codes.flatten(1)).all(2)


def test_what_the_network_learns_from_is_labelled_by_what_it_shows() -> None:
    context, _ = make_context(size=50)
    attack = TrojanNet()
    codes = attack.prepare_trigger(context)["codes"]
    patches = attack.patches(codes, context, 0)
    shown = learned(patches, codes)
    none = patches.labels == 10
    assert not bool(shown[none].any())
    assert torch.equal(shown[~none].float().argmax(1), patches.labels[~none])
    assert 0.4 < float(none.float().mean()) < 0.6
    other = attack.patches(codes, context, 1)
    assert not torch.equal(other.images, patches.images)


def test_too_few_codes_for_the_classes_are_one_line() -> None:
    context, _ = make_context(size=50)
    with pytest.raises(
        ParamsError, match=r"trojannet.white_pixels: 1 of 4 make 4 codes, but .* 10"
    ):
        TrojanNet(patch_size=2, white_pixels=1).prepare_trigger(context)
