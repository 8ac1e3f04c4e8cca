import pytest
import torch

from bdb.models import base as models
from bdb.models import pruning
from bdb.models.base import Classifier, ModelSpec
from bdb.testing import make_context
from bdb.training import loop
from bdb.training.recipes import Recipe


def fresh() -> Classifier:
    context, _ = make_context(size=64)
    return models.build(ModelSpec(architecture="convnet", data=context.data), 0)


@pytest.mark.parametrize("share", [0.01, 0.25, 1.0])
def test_so_many_weights_of_each_layer_count(share: float) -> None:
    masks = pruning.Scored(fresh(), share).masks()
    for mask in masks.values():
        assert int(mask.sum()) == max(1, round(share * mask.numel()))


def test_the_mask_begins_as_that_of_magnitudes() -> None:
    model = fresh()
    mask = pruning.Scored(model, 0.5).masks()["head.weight"]
    kept, cut = (model.head.weight.detach().abs()[which] for which in (mask, ~mask))
    assert kept.min() >= cut.max()


def test_with_all_weights_it_is_the_model() -> None:
    model, images = fresh().eval(), torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(pruning.Scored(model, 1.0).eval()(images), model(images))


def test_only_scores_learn() -> None:
    context, _ = make_context(size=64)
    model = fresh()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    scored = pruning.Scored(model, 0.5)
    first = scored.masks()
    recipe = Recipe(epochs=2, batch_size=32, lr=0.1, optimizer="adam", weight_decay=0)
    loop.fit(scored, context.train, recipe, seed=0, parameters=scored.scores.parameters())
    after = dict(model.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.grad is None for weight in after.values())
    assert any(not torch.equal(mask, scored.masks()[name]) for name, mask in first.items())


def test_what_is_cut_stays_cut_until_it_is_let_go() -> None:
    context, _ = make_context(size=64)
    model = fresh()
    masks = pruning.Scored(model, 0.25).masks()
    hooks = pruning.freeze(model, masks)
    loop.fit(model, context.train, Recipe(epochs=1, batch_size=32, lr=0.1), seed=0)
    for name, weight in pruning.layers(model).items():
        assert torch.equal(weight != 0, masks[name]), name
    for hook in hooks:
        hook.remove()
    loop.fit(model, context.train, Recipe(epochs=1, batch_size=32, lr=0.1), seed=0)
    assert bool((model.head.weight != 0).all())
